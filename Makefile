# `make help` lists the targets. All set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: help setup app serve test fuzz check lock locked bench bench-ui screens

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/' | column -t -s '|'

.venv/app: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -e .
	touch $@

.venv/dev: requirements.txt requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps -e .
	touch .venv/app $@

setup: .venv/dev ## .venv with everything for working on the project, and the command `sdq`

app: .venv/app ## start the app, for this machine only
	$(BIN)/python -m streamlit run app.py --server.address $(or $(SDQ_ADDRESS),127.0.0.1)

serve: .venv/app ## open the app to a room, by links: docs/serving.md
	$(BIN)/python -m streamlit run app.py --server.address $(or $(SDQ_ADDRESS),0.0.0.0)

test: .venv/dev ## the default tests; those in a browser need a Chromium
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -rs -n 2

fuzz: .venv/dev ## random search, other inputs every time (FUZZ_EXAMPLES=500 make fuzz)
	$(BIN)/python -m pytest -n 2 -m "(hypothesis or fuzz) and not slow" --hypothesis-profile=fuzz

check: .venv/dev ## ruff, mypy, and an audit of licences and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py

lock: ## requirements*.lock anew, from requirements.txt and requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) uv
	$(BIN)/python .ci/lock.py

# where pip finds no torch for CPUs it says why, and the lock is that of the package index, with CUDA
# on Linux; whatever else fails in either lock is an error
locked: ## .venv from the locks, every file checked against its hash
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@sed -n '/^torch==/,/[^\\]$$/p' requirements.lock > .venv/torch.txt
	@if $(PIP) --dry-run --no-deps --ignore-installed --require-hashes -r .venv/torch.txt; \
	then echo requirements.lock; else echo requirements-pypi.lock; fi > .venv/lock
	@echo "torch as in $$(cat .venv/lock)"
	$(PIP) --require-hashes -r $$(cat .venv/lock) -r requirements-dev.lock
	$(PIP) --no-deps -e .
	touch .venv/app .venv/dev

bench: .venv/dev ## costs as ratios, interleaved, medians
	$(BIN)/python -m benchmarks.costs

bench-ui: .venv/dev ## page times, memory, thirty students
	$(BIN)/python -m benchmarks.ui

screens: .venv/dev ## the pictures of the README
	$(BIN)/python -m tests.e2e.screens docs/screens --readme
