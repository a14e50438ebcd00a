# make app: start the app. make serve: open it to a room. make test: the default tests. All set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup app serve test check bench bench-ui screens

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
	$(BIN)/python -m pytest -rs -n 2 --dist loadgroup

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m benchmarks.costs

bench-ui: .venv/dev
	$(BIN)/python -m benchmarks.ui

screens: .venv/dev
	$(BIN)/python -m tests.e2e.screens docs/screens --readme
