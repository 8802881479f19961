# `make run` runs the sweep of a configuration, `make test` checks everything. Both first set up .venv from the lock files.
# `make cluster` sets up .venv with the packages for `snakemake --profile slurm`.

PYTHON ?= python3
# Another configuration: make run CONFIG=workflow/presets/smoke.yaml
CONFIG ?=
# More arguments for Snakemake: make run ARGS=--dry-run
ARGS ?=
BIN := .venv/bin
# Quote a path for the shell.
quoted = '$(subst ','\'',$(1))'
# Without an NVIDIA GPU, take small CPU-only wheels from PyTorch's index; if it cannot be reached, use pip's index.
TORCH_INDEX ?= $(shell command -v nvidia-smi > /dev/null || $(PYTHON) envs/torch_index.py)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run cluster test test-fast lint lock clean
.DELETE_ON_ERROR:

run: .venv/runtime
	@$(BIN)/distillery resume --config $(call quoted,$(or $(CONFIG),config.yaml))
	@$(BIN)/distillery plan --config $(call quoted,$(or $(CONFIG),config.yaml))
	@$(BIN)/snakemake --profile profiles/local $(if $(CONFIG),--configfile $(call quoted,$(CONFIG))) $(ARGS)

# A login node has no GPU, but jobs train on GPUs: install PyTorch with CUDA, unless TORCH_INDEX is given.
cluster: TORCH_INDEX :=
cluster: .venv/cluster

# One worker per file, because the tests of a file share fixtures. tests/conftest.py sorts sweeps first.
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

# With PySR, whose source the tests read; only tests that need Julia import it.
.venv/dev: requirements-dev.lock requirements-slurm.lock requirements-pysr.lock .venv/runtime
	$(PIP) --requirement $< --requirement requirements-pysr.lock
	@touch $@

# Pin the newest versions of the dependencies; afterwards run the tests and commit the files.
lock:
	$(PYTHON) envs/lock.py

clean:
	rm -rf .venv .snakemake results
