"""Write requirements.lock and requirements-dev.lock: what pyproject.toml asks for, at its newest, pinned.

``--envs`` only writes the conda environments of the stages anew from the versions in requirements.lock.
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
STAGES = {
    "simulate": [*SHARED, "heyoka", "mpi4py", "mpich", "zarr", "xarray"],
    "train": [*SHARED, "torch", "torch-geometric", "safetensors", "zarr", "xarray"],
    "distill": [*SHARED, "dask", "distributed", "psutil", "pyoperon", "scipy"],
    "report": [*SHARED, "duckdb", "matplotlib", "psutil", "xarray", "zarr"],
}


def write_environments() -> None:
    """Write envs/<stage>.yaml with the versions of requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    versions = {line.split("==")[0].lower(): line for line in lines if "==" in line}
    for stage, packages in STAGES.items():
        pins = "".join(f"      - {versions[package]}\n" for package in sorted(packages))
        (ROOT / "envs" / f"{stage}.yaml").write_text(
            f"# Made by `make lock` from requirements.lock, for `snakemake --sdm conda`. Do not edit.\n"
            f"channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{pins}"
        )


def pinned(python: Path) -> set[str]:
    """Return the exact versions installed beside ``python``, without labels of local builds."""
    command = [python, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude", "setuptools"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {re.sub(r"\+.*| @ .*", "", line) for line in frozen.splitlines()}


def main() -> None:
    """Install runtime, then development requirements in a throw-away environment, and freeze each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*project["build-system"]["requires"], "editables", *project["project"]["dependencies"]]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*install, TORCH, *runtime], check=True)
        base = pinned(python)
        subprocess.run([*install, TORCH, *project["project"]["optional-dependencies"]["dev"]], check=True)
        everything = pinned(python)
    header = "# Made by `make lock` from pyproject.toml. Do not edit.\n"
    (ROOT / "requirements.lock").write_text(header + "\n".join(sorted(base, key=str.lower)) + "\n")
    extra = sorted(everything - base, key=str.lower)
    (ROOT / "requirements-dev.lock").write_text(header + "-r requirements.lock\n" + "\n".join(extra) + "\n")
    write_environments()


if __name__ == "__main__":
    if "--envs" in sys.argv:
        write_environments()
    else:
        main()
