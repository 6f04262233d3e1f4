# Needs python3 (3.11 or later) and make; everything else is fetched.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The Python that makes .venv: the newest found, or the one you name.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)) python3)
BIN := .venv/bin
STAMP := .venv/installed
# Further arguments, as in: make unit ARGS="-k codec"
ARGS ?=
# How many processes share the tests; each starts services of its own when it comes to the first test that needs them.
JOBS ?= 2
# How many worlds `make simulate` runs, from seed 0 on; `make soak` begins behind them.
SEEDS ?= 1000

.PHONY: help setup demo up down status reset test lint types unit simulate soak bench fuzz chaos clean lock

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Make .venv from the lock (again only when lock or project change)

demo: $(STAMP) ## Start everything, put two real data sets through it, show what became of them
	@$(BIN)/python -m infra.demo

up: $(STAMP) ## Start Kafka, ClickHouse and the workers for your own events
	@$(BIN)/python -m infra.up

down: ## Stop what was started here; data stay
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m infra.down; else echo "nothing was started here"; fi

status: $(STAMP) ## Say what runs, where, and how it is
	@$(BIN)/python -m infra.status

reset: $(STAMP) ## Stop and forget all data of the local services
	@$(BIN)/python -m infra.reset

test: lint types $(STAMP) ## Lint, types and all tests, with real services
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## Style, banned imports, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/lint-imports --no-logo --cache-dir .nanotally/imports

types: $(STAMP) ## mypy --strict over everything
	$(BIN)/python -m infra.typecheck

unit: $(STAMP) ## The tests that need no services
	$(BIN)/pytest -m "not services" $(ARGS)

simulate: $(STAMP) ## Run the pipeline in memory through SEEDS=1000 worlds of faults and check each
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

soak: $(STAMP) ## The same without end: until a world fails or you stop it
	@$(BIN)/python -m tests.simulation --soak --from $(SEEDS) $(ARGS)

bench: $(STAMP) ## Measure speed: a table, and JSON lines
	@$(BIN)/python -m tests.bench

fuzz: $(STAMP) ## Try inputs that nobody should send (ARGS="--inputs 1000000 codec")
	@$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(STAMP) ## Kill, stop, cut off and fill up real processes for a quarter of an hour: nothing may be lost
	@$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

clean: down ## Remove .venv, caches and local data
	rm -rf .venv .nanotally .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info

lock: ## Renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --universal --no-annotate \
		--custom-compile-command "make lock" --upgrade --quiet --output-file requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "nanotally needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Install one and name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv from requirements.lock (once)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv || { \
		echo "could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
