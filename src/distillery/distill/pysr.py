"""The PySR engine with the paper's parameters: operators, complexities, mean absolute error.

PySR starts Julia when it is imported; that happens in the fitting process only. Serial and deterministic:
equal seeds give equal fronts.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distillery.config import DistillationSettings
from distillery.distill.engine import Problem
from distillery.errors import DistilleryError
from distillery.randomness import integer_seed

_BINARY = {"+": "+", "-": "-", "*": "*", "/": "/", "^": "^", ">": "greater", "<": "less", "if": "cond"}
_UNARY = {"exp": "exp", "log": "log"}
_COSTLY = {"^": 3, "exp": 3, "log": 3, "cond": 3}
_RUN = "run"


def missing() -> str | None:
    """Return what this machine lacks for the engine, if anything; PySR is not imported for that."""
    if importlib.util.find_spec("pysr") is None:
        return "the Python package pysr is not installed"
    if not any(path is not None and os.access(path, os.X_OK) for path in _julias()):
        return "julia (1.10.3 or newer) is not on the PATH"
    return None


def _julias() -> list[str | None]:
    """Return where juliacall looks for Julia: named by the environment, on the path, installed by juliapkg."""
    project = os.environ.get("PYTHON_JULIAPKG_PROJECT") or str(Path(sys.prefix) / "julia_env")
    return [
        os.environ.get("PYTHON_JULIACALL_EXE"),
        os.environ.get("PYTHON_JULIAPKG_EXE"),
        shutil.which("julia"),
        str(Path(project) / "pyjuliapkg" / "install" / "bin" / "julia"),
    ]


def unknown_operators(settings: DistillationSettings) -> tuple[str, ...]:
    """Return the configured operators that PySR does not have: none."""
    return tuple(operator for operator in settings.operators if operator not in _BINARY | _UNARY)


def parameters(settings: DistillationSettings, folder: Path) -> dict[str, Any]:
    """Return the arguments of ``PySRRegressor``.

    Args:
        settings: Operators, budget and seed.
        folder: Where PySR writes its hall of fame.
    """
    binary = [_BINARY[operator] for operator in settings.operators if operator in _BINARY]
    unary = [_UNARY[operator] for operator in settings.operators if operator in _UNARY]
    budget = settings.pysr
    return {
        "binary_operators": binary,
        "unary_operators": unary,
        "complexity_of_operators": {name: cost for name, cost in _COSTLY.items() if name in (*binary, *unary)},
        "elementwise_loss": "L1DistLoss()",
        "model_selection": "score",
        "niterations": budget.iterations,
        "populations": budget.populations,
        "population_size": budget.population_size,
        "maxsize": budget.max_size,
        "parallelism": "serial",
        "deterministic": True,
        "random_state": integer_seed(settings.seed, "pysr") % 2**31,
        "progress": False,
        "verbosity": 0,
        "output_directory": str(folder),
        "run_id": _RUN,
    }


def search(problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
    """Return the expressions of PySR's hall of fame.

    Args:
        problem: What to fit.
        folder: Where PySR writes its hall of fame, as it goes.
        report: Not needed; see ``partial``.

    Raises:
        DistilleryError: PySR found nothing at all.
    """
    from pysr import PySRRegressor

    model = PySRRegressor(**parameters(problem.settings, folder))
    model.fit(problem.features, problem.target, variable_names=list(problem.names))
    found = translated([str(text) for text in model.equations_["equation"]])
    if not found:
        raise DistilleryError("pysr: gave no expression; raise distillation.pysr.iterations")
    return found


def partial(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Return what a killed search left in its hall of fame.

    Args:
        folder: As given to ``search``.
        names: Names of the features.
    """
    for name in ("hall_of_fame.csv", "hall_of_fame.csv.bak", "hall_of_fame.csv.bkup"):
        with contextlib.suppress(OSError, csv.Error, UnicodeDecodeError, KeyError):
            with (folder / _RUN / name).open(encoding="utf-8", newline="") as table:
                texts = [row["Equation"] for row in csv.DictReader(table) if row.get("Equation")]
            if texts:
                return translated(texts)
    return []


def translated(texts: list[str]) -> list[str]:
    """Bring PySR's expressions to the notation of ``formula.parse``; those that cannot be are left out.

    ``greater(a, b)`` and ``less(a, b)`` are 1 or 0, ``cond(a, b)`` is b where a > 0, else 0.
    """
    found = []
    for text in texts:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            tree = ast.parse(text.replace("^", "**"), mode="eval")
            found.append(ast.unparse(_Translator().visit(tree)))
    return found


class _Translator(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        arguments = [self.visit(argument) for argument in node.args]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        match name, arguments:
            case (("greater" | "less"), [left, right]):
                return _if(left, ast.Gt() if name == "greater" else ast.Lt(), right, ast.Constant(1))
            case "cond", [test, value]:
                return _if(test, ast.Gt(), ast.Constant(0), value)
        return ast.Call(node.func, arguments, [])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) != 1:
            raise ValueError("a chain of comparisons")
        return _if(self.visit(node.left), node.ops[0], self.visit(node.comparators[0]), ast.Constant(1))


def _if(left: Any, operator: ast.cmpop, right: Any, value: Any) -> ast.IfExp:
    return ast.IfExp(test=ast.Compare(left, [operator], [right]), body=value, orelse=ast.Constant(0))
