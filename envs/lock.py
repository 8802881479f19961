"""Write the requirements*.lock: newest versions of the dependencies in pyproject.toml; each extra extends the previous.

``--envs`` only writes the conda environments of the stages from the versions in the lock files.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"  # fixed: a newer one needs newer CUDA drivers than many clusters have
# Imports of each stage; the environment of symbolic regression has no torch (Julia and torch conflict in one process).
SHARED = ["click", "jaxtyping", "numpy", "psutil", "pydantic", "pyyaml", "sympy"]
# The post-deploy script builds the package itself in each environment.
BUILD = ["editables", "hatchling"]
EXTRAS = ("slurm", "dev")
POST_DEPLOY = """\
# Made by `make lock`. The command `distillery` of this environment is that of the checkout, which the workflow names.
set -e
python -m pip install --no-deps --no-build-isolation --quiet --editable "${DISTILLERY_CHECKOUT:-$PWD}"
"""
STAGES = {
    # Halos are simulated with SciPy.
    "simulate": [*SHARED, "heyoka", "mpi4py", "mpich", "scipy", "zarr", "xarray"],
    # The stages replace and generalise also need networks, fits (SciPy) and simulations (heyoka).
    "train": [*SHARED, "heyoka", "scipy", "torch", "torch-geometric", "safetensors", "zarr", "xarray"],
    "distill": [
        *[*SHARED, "cryptography", "dask", "dask-jobqueue", "distributed", "pyoperon", "pysr", "scipy"],
        # The stage verify reads held-out simulations.
        *["xarray", "zarr"],
    ],
    "report": [*SHARED, "duckdb", "jinja2", "markupsafe", "matplotlib", "xarray", "zarr"],
}


def write_environments() -> None:
    """Write envs/<stage>.yaml with the locked versions."""
    locks = [ROOT / f"requirements{extra}.lock" for extra in ("", "-slurm", "-pysr")]
    lines = [line for lock in locks for line in lock.read_text().splitlines()]
    versions = {line.split("==")[0].lower(): line for line in lines if "==" in line}
    for stage, packages in STAGES.items():
        pins = "".join(f"      - {versions[package]}\n" for package in sorted([*packages, *BUILD]))
        path = ROOT / "envs" / f"{stage}.yaml"
        path.write_text(
            f"# Made by `make lock` from the lock files, for `snakemake --sdm conda`. Do not edit.\n"
            f"channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{pins}"
        )
        # Snakemake runs the file of this name in a new environment.
        path.with_suffix(".post-deploy.sh").write_text(POST_DEPLOY)


def pinned(python: Path) -> set[str]:
    """Return the exact versions installed for ``python``, without labels of local builds."""
    command = [python, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude", "setuptools"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {re.sub(r"\+.*| @ .*", "", line) for line in frozen.splitlines()}


def write_lock(name: str, pins: set[str], below: str | None = None) -> None:
    """Write a lock file that extends the one ``below``."""
    base = [f"-r {below}"] if below else []
    lines = ["# Made by `make lock` from pyproject.toml. Do not edit.", *base, *sorted(pins, key=str.lower)]
    (ROOT / name).write_text("\n".join(lines) + "\n")


def write_pysr_lock(install: list[str | Path], wanted: list[str]) -> None:
    """Write the additional packages of PySR. They are resolved, not installed: their import starts Julia."""
    below = "requirements-slurm.lock"
    resolve = [*install, "--dry-run", "--ignore-installed", "--report", "-", "--requirement", str(ROOT / below)]
    answer = subprocess.run([*resolve, *wanted], capture_output=True, text=True, check=True).stdout
    found = [entry["metadata"] for entry in json.loads(answer)["install"]]
    locked = [(ROOT / name).read_text().lower().replace("_", "-") for name in (below, "requirements.lock")]
    known = {line.split("==")[0] for text in locked for line in text.splitlines()}
    pins = {f"{entry['name']}=={entry['version']}" for entry in found}
    write_lock(
        "requirements-pysr.lock",
        {pin for pin in pins if pin.lower().replace("_", "-").split("==")[0] not in known},
        below,
    )


def main() -> None:
    """Install runtime requirements and each extra in a temporary environment, and freeze after each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*project["build-system"]["requires"], "editables", *project["project"]["dependencies"]]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*install, TORCH, *runtime], check=True)
        known = pinned(python)
        write_lock("requirements.lock", known)
        below = "requirements.lock"
        for extra in EXTRAS:
            subprocess.run([*install, TORCH, *project["project"]["optional-dependencies"][extra]], check=True)
            now = pinned(python)
            write_lock(f"requirements-{extra}.lock", now - known, below)
            known, below = now, f"requirements-{extra}.lock"
        write_pysr_lock(install, project["project"]["optional-dependencies"]["pysr"])
    write_environments()


if __name__ == "__main__":
    if "--envs" in sys.argv:
        write_environments()
    else:
        main()
