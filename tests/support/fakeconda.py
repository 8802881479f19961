"""A stand-in for conda without channels: environments with only the listed packages of this Python.

What is listed, and what that requires, is visible in such an environment; any other installed package is not, and
nor is Distillery itself unless it is installed there.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import stat
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

import yaml
from packaging.requirements import Requirement

HIDING = """\
import sys

HIDDEN = {hidden!r}


class _Hiding:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self._finder.find_spec(name, path, target)


sys.meta_path[:] = [_Hiding(finder) for finder in sys.meta_path]
"""
ACTIVATE = """\
case "$1" in /*) export CONDA_PREFIX="$1" PATH="$1/bin:$PATH" ;; esac
"""


def install(folder: Path) -> Path:
    """Write ``conda`` and ``activate`` where Snakemake expects them; return the folder for the path."""
    commands = folder / "bin"
    commands.mkdir(parents=True, exist_ok=True)
    conda = commands / "conda"
    conda.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {folder} "$@"\n')
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    (commands / "activate").write_text(ACTIVATE)
    return commands


def provided(names: Iterable[str]) -> set[str]:
    """Return these packages and the installed packages that they require."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (normal(name), extra) in found:
            continue
        found.add((normal(name), extra))
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, required):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, ""), *((requirement.name, inner) for inner in requirement.extras)]
    return {name for name, _ in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def visible(file: Path) -> set[str]:
    """Return the packages in an environment."""
    content = yaml.safe_load(file.read_text())
    (pins,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    return provided([pin.partition("==")[0] for pin in pins]) | {"pip", "setuptools"}


def hidden(file: Path) -> set[str]:
    """Return the modules installed here that an environment lacks."""
    listed = visible(file)
    owned = importlib.metadata.packages_distributions()
    return {module for module, owners in owned.items() if not listed & {normal(owner) for owner in owners}}


def create(file: Path, prefix: Path) -> None:
    """Create an environment."""
    venv.create(prefix, with_pip=False)
    place = prefix / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (place / "installed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (place / "sitecustomize.py").write_text(HIDING.format(hidden=hidden(file)))
    # Commands and libraries of packages: MPI's launcher expects its libraries in the same folder.
    for name in visible(file):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for entry in files:
            path = Path(str(entry.locate())).resolve()
            if ".." in entry.parts and path.is_relative_to(Path(sys.prefix).resolve()) and path.is_file():
                link = prefix / path.relative_to(Path(sys.prefix).resolve())
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(path)


def main(folder: str, *words: str) -> None:
    """Answer Snakemake's calls of conda."""
    if words[:1] == ("--version",):
        print("conda 25.1.0")
    elif words[:1] == ("info",):
        print(json.dumps({"conda_prefix": folder, "root_prefix": folder, "platform": "linux-64"}))
    elif words[:2] == ("config", "--get"):
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:2] == ("env", "create"):
        create(Path(words[words.index("--file") + 1]), Path(words[words.index("--prefix") + 1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
