"""The Julia depot: Julia, its packages and their compiled caches, prepared once and only read by fits.

By itself PySR locates Julia and downloads packages whenever it is imported. ``distillery julia-setup`` does this once
on a machine with a network; its marker, written last, records versions and paths. The environment of a fit lets Julia
locate, resolve, lock and download nothing, so that thousands may start at once from a depot that they cannot write.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from pathlib import Path

from packaging.requirements import Requirement

from distillery import files
from distillery.errors import DistilleryError

_MARKER = "distillery.json"
_FORMAT = 2
# Native code for an old processor, with faster variants from which each node takes its own: the targets of Julia's own
# releases. A depot that was compiled for the login node alone compiles again on every other kind of node.
_CPU_TARGETS = {"x86_64": "generic;sandybridge,-xsaveopt,clone_all;haswell,-rdrnd,base(1)"}
# The target of a Julia that was itself built for one kind of processor.
NATIVE = "native"
_HEAP_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Versions and places with which a depot was prepared.

    Attributes:
        pysr: Version of the Python package PySR.
        juliacall: Version of the Python package juliacall; its Julia side, PythonCall, must have the same.
        julia: Version of Julia.
        symbolic_regression: Version of the Julia package SymbolicRegression.
        cpu_target: Processors that its native code is for, as ``JULIA_CPU_TARGET`` names them.
        machine: Kind of machine, such as ``x86_64``.
        executable: The program ``julia``.
        library: Its library ``libjulia``.
        bindir: Folder of Julia's programs.
        host: Where it was prepared.
        date: When.
    """

    pysr: str
    juliacall: str
    julia: str
    symbolic_regression: str
    cpu_target: str
    machine: str
    executable: str
    library: str
    bindir: str
    host: str
    date: str


def marker(depot: Path) -> Path:
    """Return the file that says with what a depot was prepared."""
    return depot / _MARKER


def project(depot: Path) -> Path:
    """Return the folder of the Julia project; where juliapkg installs Julia, it does so within."""
    return depot / "environments" / "distillery"


def cpu_target() -> str:
    """Return the processors to compile for on this kind of machine."""
    return _CPU_TARGETS.get(platform.machine(), "generic")


def version_of(package: str) -> str | None:
    """Return the version of an installed Python package, or None; nothing is imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def mismatch() -> str | None:
    """Return why the installed juliacall does not go with the installed PySR, or None."""
    installed = version_of("juliacall")
    if installed is None:
        return "the Python package juliacall is not installed"
    for line in importlib.metadata.requires("pysr") or ():
        needed = Requirement(line)
        if needed.name == "juliacall" and not needed.specifier.contains(installed, prereleases=True):
            return f"PySR {version_of('pysr')} needs juliacall {needed.specifier}, and {installed} is installed"
    return None


def read_marker(depot: Path) -> Prepared | None:
    """Return the marker of a depot, or None where it is missing or was written by another version of this package."""
    try:
        content = files.read_json(marker(depot), "")
        return Prepared(**content["prepared"]) if content["format"] == _FORMAT else None
    except (DistilleryError, KeyError, TypeError):
        return None


def write_marker(depot: Path, prepared: Prepared) -> None:
    """Say that a depot is whole; done last."""
    files.write_json(marker(depot), {"format": _FORMAT, "prepared": dataclasses.asdict(prepared)})


def unprepared(depot: Path) -> str | None:
    """Return why no fit can run from a depot, or None."""
    prepared = read_marker(depot)
    if prepared is None:
        return f"the Julia depot {depot} is not prepared"
    for name, package, made_for in (("PySR", "pysr", prepared.pysr), ("juliacall", "juliacall", prepared.juliacall)):
        if made_for != version_of(package):
            installed = version_of(package)
            return f"the Julia depot {depot} was prepared for {name} {made_for}, but {installed} is installed"
    if prepared.machine != platform.machine():
        return f"the Julia depot {depot} was prepared for {prepared.machine}, and this is {platform.machine()}"
    for path in (prepared.executable, prepared.library):
        if not Path(path).exists():
            return f"the Julia depot {depot} was prepared with {path}, which is not there"
    return None


def shared(depot: Path, target: str) -> dict[str, str]:
    """Return the environment that preparing and fitting have in common.

    Args:
        depot: The depot.
        target: Processors to compile for. Caches are only found again under the target they were made for.
    """
    return {
        "JULIA_DEPOT_PATH": str(depot),
        "JULIA_CPU_TARGET": target,
        "PYTHON_JULIAPKG_PROJECT": str(project(depot)),
        # Without it several Julia threads end in segmentation faults; PySR asks for it.
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
        "PYTHON_JULIACALL_STARTUP_FILE": "no",
        "PYTHON_JULIACALL_AUTOLOAD_IPYTHON_EXTENSION": "no",
    }


def environment(depot: Path, prepared: Prepared, memory_mb: int) -> dict[str, str]:
    """Return the environment of a fitting process, which runs offline from the depot.

    With program and project both given, juliacall takes them as they are: it does not ask juliapkg, which would lock
    the project, run Julia for its version, and resolve anew where it sees another Python environment.

    Args:
        depot: The depot.
        prepared: What its marker says.
        memory_mb: Memory limit of a fit in MB; Julia collects its garbage well before.
    """
    return {
        **shared(depot, prepared.cpu_target),
        "JULIA_PKG_OFFLINE": "true",
        "JULIA_PKG_PRECOMPILE_AUTO": "0",
        "PYTHON_JULIAPKG_OFFLINE": "yes",
        "PYTHON_JULIACALL_EXE": prepared.executable,
        "PYTHON_JULIACALL_PROJECT": str(project(depot)),
        "PYTHON_JULIACALL_LIB": prepared.library,
        "PYTHON_JULIACALL_BINDIR": prepared.bindir,
        "PYTHON_JULIACALL_HEAP_SIZE_HINT": f"{int(_HEAP_SHARE * memory_mb)}M",
    }
