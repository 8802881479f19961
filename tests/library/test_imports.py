"""Packages import only packages before them; the library knows nothing of the workflow; there is no circle."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import distillery

ROOT = Path(distillery.__file__).parent
ORDER = (
    *("util", "data", "physics", "simulate", "networks", "messages", "symbolic", "laws", "validation", "halos"),
    *("results", "report", "cluster", "workflow"),
)
# Modules at the root that serve all packages.
ROOT_MODULES = {"__init__", "__main__", "errors", "files", "progress", "randomness"}


@functools.cache
def imports(*, deferred: bool = True) -> dict[str, set[str]]:
    """Return the imports of every module; those inside of functions only with ``deferred``."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree) if deferred else tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distillery"):
                base = (node.module or "").removeprefix("distillery").removeprefix(".")
                for alias in node.names:
                    longer = f"{base}.{alias.name}".removeprefix(".")
                    found[name].add(longer if longer in modules else base)
            elif isinstance(node, ast.Import):
                found[name] |= {a.name.removeprefix("distillery.") for a in node.names if "distillery." in a.name}
    return found


def test_the_root_holds_the_face_and_what_serves_all() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == ROOT_MODULES
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ORDER)


def test_packages_import_only_packages_before_them() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if "." in module and other.split(".")[0] in ORDER
        if ORDER.index(other.split(".")[0]) > ORDER.index(module.split(".")[0])
    ]
    assert not wrong


def test_the_root_modules_import_no_package() -> None:
    found = imports()
    for module in ROOT_MODULES - {"__init__", "__main__"}:
        assert not {other.split(".")[0] for other in found[module]} & set(ORDER), module


def test_no_module_imports_itself_through_others() -> None:
    found = imports(deferred=False)
    # The face imports its functions when they are used.
    done: set[str] = {"__init__"}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name))
        if name in done:
            return
        for other in found.get(name, ()):
            visit(other, (*way, name))
        done.add(name)

    for name in found:
        visit(name, ())
