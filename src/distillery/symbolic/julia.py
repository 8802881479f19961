"""The Julia depot: Julia, its packages and their compiled caches, prepared once and only read by fits.

PySR itself locates Julia and downloads packages whenever it is imported. ``distillery julia-setup`` does this once on a
machine with a network; its marker, written last, records versions and paths. In the environment of a fit, Julia
locates, resolves, locks and downloads nothing, so that thousands of fits may start at once from a read-only depot.
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
# Native code for an old processor, with faster variants that each node selects from: the targets of Julia's own
# releases. A depot compiled for the login node alone compiles again on every other kind of node.
_CPU_TARGETS = {"x86_64": "generic;sandybridge,-xsaveopt,clone_all;haswell,-rdrnd,base(1)"}
# The target of a Julia that was itself built for one kind of processor.
NATIVE = "native"
_HEAP_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Versions and paths of a prepared depot.

    Attributes:
        pysr: Version of the Python package PySR.
        juliacall: Version of the Python package juliacall; its Julia package, PythonCall, must have the same version.
        julia: Version of Julia.
        symbolic_regression: Version of the Julia package SymbolicRegression.
        cpu_target: Processors of its native code, in the notation of ``JULIA_CPU_TARGET``.
        machine: Kind of machine, such as ``x86_64``.
        executable: The program ``julia``.
        library: Its library ``libjulia``.
        bindir: Folder of Julia's programs.
        host: Host on which it was prepared.
        date: Date of preparation.
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
    """Return the file that records how a depot was prepared."""
    return depot / _MARKER


def project(depot: Path) -> Path:
    """Return the folder of the Julia project; juliapkg installs Julia within it."""
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
    """Return why the installed juliacall is incompatible with the installed PySR, or None."""
    installed = version_of("juliacall")
    if installed is None:
        return "the Python package juliacall is not installed"
    for line in importlib.metadata.requires("pysr") or ():
        needed = Requirement(line)
        if needed.name == "juliacall" and not needed.specifier.contains(installed, prereleases=True):
            return f"PySR {version_of('pysr')} needs juliacall {needed.specifier}, and {installed} is installed"
    return None


def read_marker(depot: Path) -> Prepared | None:
    """Return the marker of a depot, or None if it is missing or was written by another version of this package."""
    try:
        content = files.read_json(marker(depot), "")
        return Prepared(**content["prepared"]) if content["format"] == _FORMAT else None
    except (DistilleryError, KeyError, TypeError):
        return None


def write_marker(depot: Path, prepared: Prepared) -> None:
    """Write the marker of a complete depot, as the last step of its preparation."""
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
    """Return the environment variables that preparation and fits share.

    Args:
        depot: The depot.
        target: Processors to compile for. Caches are only found under the target that they were compiled for.
    """
    return {
        "JULIA_DEPOT_PATH": str(depot),
        "JULIA_CPU_TARGET": target,
        "PYTHON_JULIAPKG_PROJECT": str(project(depot)),
        # Without it several Julia threads end in segmentation faults; PySR recommends it.
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes",
        "PYTHON_JULIACALL_STARTUP_FILE": "no",
        "PYTHON_JULIACALL_AUTOLOAD_IPYTHON_EXTENSION": "no",
    }


def environment(depot: Path, prepared: Prepared, memory_mb: int) -> dict[str, str]:
    """Return the environment variables of a fitting process, which runs offline from the depot.

    If program and project are both given, juliacall does not call juliapkg, which would lock the project, run Julia for
    its version, and resolve again in another Python environment.

    Args:
        depot: The depot.
        prepared: Content of its marker.
        memory_mb: Memory limit of a fit in MB; Julia collects its garbage well below.
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
