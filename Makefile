# The two commands: `make run` finds a law, `make test` checks everything. Both set up .venv from the lock files first.
# For sweeps on a Slurm cluster, `make cluster` sets up .venv with what `snakemake --profile slurm` needs besides.

PYTHON ?= python3
# Another configuration: make run CONFIG=workflow/presets/smoke.yaml
CONFIG ?=
# More arguments for Snakemake: make run ARGS=--dry-run
ARGS ?=
BIN := .venv/bin
# For the shell, whatever characters a path has.
quoted = '$(subst ','\'',$(1))'
# Without an NVIDIA GPU, PyTorch's own index has small CPU-only wheels. Where it cannot be reached, pip's index is used.
TORCH_INDEX ?= $(shell command -v nvidia-smi > /dev/null || $(PYTHON) envs/torch_index.py)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run cluster test test-fast lint lock clean
.DELETE_ON_ERROR:

run: .venv/runtime
	@$(BIN)/distillery resume --config $(call quoted,$(or $(CONFIG),config.yaml))
	@$(BIN)/distillery plan --config $(call quoted,$(or $(CONFIG),config.yaml))
	@$(BIN)/snakemake --profile profiles/local $(if $(CONFIG),--configfile $(call quoted,$(CONFIG))) $(ARGS)

# A login node has no GPU, and yet jobs train on GPUs: PyTorch comes with CUDA, unless TORCH_INDEX is given here.
cluster: TORCH_INDEX :=
cluster: .venv/cluster

# What the tests of a file share is made once: a file is one worker's. Whole sweeps come first, by tests/conftest.py.
FAST := -n 2 --dist loadfile -m "not slow and not workflow and not slurm"
SLOW := -n 2 --dist loadfile --no-loadscope-reorder -m "slow or workflow or slurm"

test: lint
	$(BIN)/python -m pytest --durations 15 $(FAST)
	$(BIN)/python -m pytest -v --durations 30 $(SLOW)

test-fast: .venv/dev
	$(BIN)/python -m pytest $(FAST)

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

.venv/cluster: requirements-slurm.lock .venv/runtime
	@$(if $(TORCH_INDEX),,$(BIN)/python -c "import torch, sys; sys.exit(not torch.version.cuda)" \
	  || $(BIN)/python -m pip uninstall --quiet --yes torch)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --requirement $<
	@touch $@

# With PySR, whose source is read by tests; its import would start Julia, and nothing imports it without.
.venv/dev: requirements-dev.lock requirements-slurm.lock requirements-pysr.lock .venv/runtime
	$(PIP) --requirement $< --requirement requirements-pysr.lock
	@touch $@

# Pins what pyproject.toml asks for at its newest. Run it on purpose, then the tests, then commit the files.
lock:
	$(PYTHON) envs/lock.py

clean:
	rm -rf .venv .snakemake results
