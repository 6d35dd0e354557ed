# Each goal works on a fresh clone: the virtual environment is made on first use, from the locks in requirements/.
# Another Python, in an environment of its own: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FLEET := $(BIN)/celeryfleet
# whoever runs make here believes this folder, whoever owns it
export CELERYFLEET_TRUST ?= $(CURDIR)
PIP := -m pip install --quiet --disable-pip-version-check
PYTEST := -m pytest -n auto
# what test-newest and test-lowest run
TESTS ?= tests
# how long fuzz goes on
SECONDS ?= 30

.PHONY: help demo up down test test-unit test-services test-e2e fuzz test-newest test-lowest lint docs format test-celery bench chaos lock clean

help:  ## Show the goals.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 15

# --- Environments: the packages of a lock, then celeryfleet itself, built with the hatchling of that lock ---

$(BIN)/.demo $(BIN)/.dev $(BIN)/.bench $(BIN)/.lowest: $(BIN)/.%: requirements/%.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --require-hashes -r $<
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# --- The demo ---

demo: $(BIN)/.demo  ## Start the demo fleet and take the tour; it is left running.
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/tour

up: $(BIN)/.demo  ## Run the demo fleet in this terminal.
	$(FLEET) up

down: $(BIN)/.demo  ## Stop the demo fleet.
	$(FLEET) down

# --- Tests ---

# A test that fails beside thousands of others with their processes, and not alone, is named, and is to be mended; what fails twice stops here.
test: $(BIN)/.dev  ## Run the whole test suite, on all processors; what fails runs once more, alone.
	$(BIN)/python $(PYTEST) || { [ $$? = 1 ] && $(BIN)/python -m pytest --last-failed --exitfirst; }

test-unit: $(BIN)/.dev  ## Run the tests that need no service, but for the slow ones: seconds.
	$(BIN)/python $(PYTEST) tests/unit -m "not slow"

test-services: $(BIN)/.dev  ## Run the tests that talk to brokers.
	$(BIN)/python $(PYTEST) tests/services

test-e2e: $(BIN)/.dev  ## Run the tests that run whole fleets.
	$(BIN)/python $(PYTEST) tests/e2e

fuzz: $(BIN)/.dev  ## Give every reader texts that nobody would write; SECONDS=600 for long.
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

test-newest:  ## Test with the newest of every package, in .venv-newest; TESTS=tests/unit for a part.
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python $(PIP) --upgrade --upgrade-strategy eager -e '.[test]'
	.venv-newest/bin/python $(PYTEST) $(TESTS)

test-lowest:  ## Test with the lowest of every package that pyproject.toml allows, in .venv-lowest.
	@$(MAKE) --no-print-directory VENV=.venv-lowest .venv-lowest/bin/.lowest
	.venv-lowest/bin/python $(PYTEST) $(TESTS)

# It fetches nothing; the tests want `pip install pydantic pytest-rerunfailures` in $(VENV), and say so.
test-celery: $(BIN)/.dev  ## Run Celery's own integration tests through a plain worker and a fleet, compare; CELERY=checkout BROKER=rabbitmq.
	$(BIN)/python -m conformance $(CELERY) $(if $(BROKER),--broker $(BROKER))

# --- Care ---

lint: $(BIN)/.dev  ## Check style, types and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(BIN)/.dev  ## Build the documentation site in build/site; a link that leads nowhere is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(BIN)/.dev  ## Mend style where that can be done.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.bench  ## Measure side by side with the peers; writes benchmarks/RESULTS.md.
	$(BIN)/python -m benchmarks

chaos: $(BIN)/.dev  ## Break fleets under load and count lost tasks; SECONDS=60 SEED=7 BROKER=redis, all three by default.
	$(BIN)/python -m chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(BROKER),--broker $(BROKER))

# Extras stay: pip before 23.3 looks for the newest coverage[toml] where only coverage is pinned, and fails on its hash.
# One resolution holds all: the locks of the demo and of development are parts of that of the benchmarks.
COMPILE := .venv-lock/bin/uv pip compile pyproject.toml --group build --quiet --universal --python-version 3.11 \
	--no-strip-extras --generate-hashes --custom-compile-command 'make lock'

lock:  ## Renew the locks with what is newest today.
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP) --upgrade uv
	$(COMPILE) --upgrade --extra dev --extra bench --output-file requirements/bench.txt
	$(COMPILE) --upgrade --extra dev --constraint requirements/bench.txt --output-file requirements/dev.txt
	$(COMPILE) --upgrade --extra embedded --constraint requirements/bench.txt --output-file requirements/demo.txt
	$(COMPILE) --upgrade --extra test --resolution lowest-direct --output-file requirements/lowest.txt

clean:  ## Remove what the goals made.
	rm -rf .venv .venv-* $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
