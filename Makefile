# The two commands: `make run` finds a law, `make test` checks everything. Both set up .venv from the lock files first.

PYTHON ?= python3
# Another configuration: make run CONFIG=workflow/presets/smoke.yaml
CONFIG ?=
# More arguments for Snakemake: make run ARGS=--dry-run
ARGS ?=
BIN := .venv/bin
# Without an NVIDIA GPU, PyTorch's own index has small CPU-only wheels. Where it cannot be reached, pip's index is used.
TORCH_INDEX ?= $(shell command -v nvidia-smi > /dev/null || $(PYTHON) envs/torch_index.py)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test test-fast lint lock clean
.DELETE_ON_ERROR:

run: .venv/runtime
	@$(BIN)/distillery unlock
	@$(BIN)/distillery plan --config $(or $(CONFIG),config.yaml)
	@$(BIN)/snakemake --profile profiles/local $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow and not workflow"
	$(BIN)/python -m pytest -m "slow or workflow"

test-fast: .venv/dev
	$(BIN)/python -m pytest -n 2 -m "not slow and not workflow"

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy

.venv/runtime: requirements.lock pyproject.toml
	@echo "Setting up .venv from $< (a minute or two, once)"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	  || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "no venv module: apt install python3-venv" >&2; exit 1; }
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --requirement $<
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	$(PIP) --requirement $<
	@touch $@

# Pins what pyproject.toml asks for at its newest. Run it on purpose, then the tests, then commit the two files.
lock:
	$(PYTHON) envs/lock.py

clean:
	rm -rf .venv .snakemake results
