# make app: start the app. make serve: open it to a room. make test: the default tests. All set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup app serve test fuzz check lock locked bench bench-ui screens

.venv/app: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch .venv/app $@

setup: .venv/dev

app: .venv/app
	$(BIN)/python -m streamlit run app.py --server.address $(or $(SDQ_ADDRESS),127.0.0.1)

serve: .venv/app
	$(BIN)/python -m streamlit run app.py --server.address $(or $(SDQ_ADDRESS),0.0.0.0)

test: .venv/dev
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -rs -n 2

# random search, other inputs every time: property tests, and files of every kind (FUZZ_EXAMPLES=500 make fuzz)
fuzz: .venv/dev
	$(BIN)/python -m pytest -n 2 -m "(hypothesis or fuzz) and not slow" --hypothesis-profile=fuzz

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py

# requirements*.lock anew, from requirements.txt and requirements-dev.txt
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/python .ci/lock.py

# .venv from the locks, every file checked against its hash; where pip finds no torch for CPUs, that of the package index, with CUDA on Linux
locked:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock -r requirements-dev.lock || \
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-pypi.lock -r requirements-dev.lock
	touch .venv/app .venv/dev

bench: .venv/dev
	$(BIN)/python -m benchmarks.costs

bench-ui: .venv/dev
	$(BIN)/python -m benchmarks.ui

screens: .venv/dev
	$(BIN)/python -m tests.e2e.screens docs/screens --readme
