"""Write the requirements*.lock: what pyproject.toml asks for, at its newest, pinned; an extra stands on the one before.

``--envs`` only writes the conda environments of the stages anew from the versions in the lock files.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"  # held: a newer one changes CUDA versions, which clusters follow slowly
# What each stage imports; the environment of symbolic regression holds no torch (Julia and torch clash in one process).
SHARED = ["click", "jaxtyping", "numpy", "pydantic", "pyyaml", "sympy"]
EXTRAS = ("slurm", "dev")
STAGES = {
    "simulate": [*SHARED, "heyoka", "mpi4py", "mpich", "zarr", "xarray"],
    "train": [*SHARED, "torch", "torch-geometric", "safetensors", "zarr", "xarray"],
    "distill": [*SHARED, "cryptography", "dask", "dask-jobqueue", "distributed", "psutil", "pyoperon", "scipy"],
    "report": [*SHARED, "duckdb", "matplotlib", "psutil", "xarray", "zarr"],
}


def write_environments() -> None:
    """Write envs/<stage>.yaml with the locked versions."""
    locks = (ROOT / "requirements.lock", ROOT / "requirements-slurm.lock")
    lines = [line for lock in locks for line in lock.read_text().splitlines()]
    versions = {line.split("==")[0].lower(): line for line in lines if "==" in line}
    for stage, packages in STAGES.items():
        pins = "".join(f"      - {versions[package]}\n" for package in sorted(packages))
        (ROOT / "envs" / f"{stage}.yaml").write_text(
            f"# Made by `make lock` from the lock files, for `snakemake --sdm conda`. Do not edit.\n"
            f"channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{pins}"
        )


def pinned(python: Path) -> set[str]:
    """Return the exact versions installed beside ``python``, without labels of local builds."""
    command = [python, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude", "setuptools"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {re.sub(r"\+.*| @ .*", "", line) for line in frozen.splitlines()}


def write_lock(name: str, pins: set[str], below: str | None = None) -> None:
    """Write a lock file, on top of the one ``below``."""
    base = [f"-r {below}"] if below else []
    lines = ["# Made by `make lock` from pyproject.toml. Do not edit.", *base, *sorted(pins, key=str.lower)]
    (ROOT / name).write_text("\n".join(lines) + "\n")


def main() -> None:
    """Install runtime requirements, then each extra in a throw-away environment, and freeze after each."""
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
    write_environments()


if __name__ == "__main__":
    if "--envs" in sys.argv:
        write_environments()
    else:
        main()
