"""Read the interface of the installed PySR from its source, because its import would start Julia."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection
from pathlib import Path

_SYMBOLS = frozenset("+-*/^")
_CLASS = "PySRRegressor"


def source() -> Path | None:
    """Return the folder of the installed PySR, or None; nothing is imported."""
    spec = importlib.util.find_spec("pysr")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def unknown(
    folder: Path, parameters: Collection[str], arguments: Collection[str], operators: Collection[str], loss: str
) -> list[str]:
    """Return the arguments and operators that this PySR does not support; empty if it supports all.

    Args:
        folder: PySR's source.
        parameters: Names of parameters of ``PySRRegressor``.
        arguments: Names of arguments of its ``fit``.
        operators: Names of operators. PySR's table of their meanings is the list of supported ones.
        loss: The loss; PySR's documentation of the parameter is the list of supported ones.

    Raises:
        OSError: The source is not where it should be.
        SyntaxError: It is for another version of Python.
        ValueError: It has no class ``PySRRegressor``.
    """
    text = (folder / "sr.py").read_text(encoding="utf-8")
    methods = _methods(ast.parse(text))
    known = _operators(ast.parse((folder / "export_sympy.py").read_text(encoding="utf-8"))) | _SYMBOLS
    return [
        *(f"the parameter {name}" for name in parameters if name not in methods["__init__"]),
        *(f"the argument {name} of fit" for name in arguments if name not in methods["fit"]),
        *(f"the operator {name}" for name in operators if name not in known),
        *([] if loss in text else [f"the loss {loss}"]),
    ]


def _methods(module: ast.Module) -> dict[str, set[str]]:
    """Return the named arguments of the methods of ``PySRRegressor``."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == _CLASS:
            found = {
                method.name: {argument.arg for argument in (*method.args.args, *method.args.kwonlyargs)}
                for method in node.body
                if isinstance(method, ast.FunctionDef)
            }
            if {"__init__", "fit"} <= set(found):
                return found
    raise ValueError(f"no class {_CLASS}")


def _operators(module: ast.Module) -> set[str]:
    """Return the keys of PySR's table ``sympy_mappings``."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "sympy_mappings" in names:
                return {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    raise ValueError("no table sympy_mappings")
