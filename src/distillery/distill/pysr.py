"""The PySR engine with the paper's parameters: operators, complexities, mean absolute error.

PySR starts Julia when it is imported; that happens in the fitting process only, which finds Julia and its packages
in a depot that was prepared before (``distillery.distill.julia``). Serial and deterministic by default: equal seeds
give equal fronts.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distillery.distill import julia, signature
from distillery.distill.engine import Problem, Stopped
from distillery.errors import DistilleryError
from distillery.randomness import integer_seed, stream
from distillery.settings import DistillationSettings, ExecutionSettings

_BINARY = {"+": "+", "-": "-", "*": "*", "/": "/", "^": "^", ">": "greater", "<": "less", "if": "cond"}
_UNARY = {"exp": "exp", "log": "log"}
_COSTLY = {"^": 3, "exp": 3, "log": 3, "cond": 3}
_LOSS = "L1DistLoss()"
_RUN = "run"
# PySR is told to end a little before the limit at which the fitting process is killed.
_OWN_SHARE = 0.95
# The smallest search that runs through everything a search runs through, so that all of it is compiled.
_SMALL = {"niterations": 1, "populations": 2, "ncycles_per_iteration": 10}
_NEWEST = "2.7"


def missing() -> str | None:
    """Return what this machine lacks for the engine, if anything; PySR is not imported for that."""
    folder = signature.source()
    if folder is None:
        return "the Python package pysr is not installed"
    version = julia.pysr_version()
    given = parameters(DistillationSettings(engine="pysr", operators=(*_BINARY, *_UNARY)), Path())  # type: ignore[arg-type]
    operators = [*given["binary_operators"], *given["unary_operators"]]
    try:
        unknown = signature.unknown(folder, [*given, "guesses"], ["X", "y", "variable_names"], operators, _LOSS)
    except (OSError, SyntaxError, ValueError) as error:
        return f"PySR {version} in {folder} cannot be checked ({error}); the newest version known to work is {_NEWEST}"
    if unknown:
        return f"PySR {version} does not know {', '.join(unknown)}; the newest version known to work is {_NEWEST}"
    return None


def unprepared(execution: ExecutionSettings) -> str | None:
    """Return why no fit can run from the configured depot, if so, and how to prepare it."""
    reason = julia.unprepared(julia.depot_of(execution))
    return f"{reason}; run `distillery julia-setup` where there is a network" if reason else None


def environment(settings: DistillationSettings, execution: ExecutionSettings) -> dict[str, str]:
    """Return the environment of a fitting process: offline, from the configured depot.

    Raises:
        DistilleryError: The depot is not prepared.
    """
    depot = julia.depot_of(execution)
    prepared = julia.read_marker(depot)
    if prepared is None:
        raise DistilleryError(f"{depot}: not prepared; run `distillery julia-setup` where there is a network")
    return julia.environment(depot, prepared, settings.memory_mb)


def threads(settings: DistillationSettings, cores: int) -> int:
    """Return the Julia threads of a fit: one, or the worker's cores where many are asked for."""
    return cores if settings.pysr.parallelism == "multithreading" else 1


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
        "elementwise_loss": _LOSS,
        "model_selection": "score",
        "niterations": budget.iterations,
        "populations": budget.populations,
        "population_size": budget.population_size,
        "ncycles_per_iteration": budget.cycles,
        "maxsize": budget.max_size,
        "timeout_in_seconds": _OWN_SHARE * settings.seconds,
        "parallelism": budget.parallelism,
        "deterministic": budget.parallelism == "serial",
        "random_state": integer_seed(settings.seed, "pysr") % 2**31,
        "progress": False,
        "verbosity": 0,
        # Standard input brings the next fit.
        "input_stream": "devnull",
        "output_directory": str(folder),
        "run_id": _RUN,
    }


_warm: set[tuple[object, ...]] = set()


def warm_up(problem: Problem, folder: Path) -> None:
    """Start Julia and compile a search over such data with such operators, once per process.

    Args:
        problem: What is to be fitted next. The warm-up's own data are random numbers of the same shape.
        folder: Where PySR writes its hall of fame.

    Raises:
        DistilleryError: The process has loaded torch, which crashes Julia.
    """
    settings = problem.settings
    kind = (settings.operators, settings.pysr, problem.features.shape, bool(problem.guesses))
    if kind in _warm:
        return
    if "torch" in sys.modules:
        raise DistilleryError("pysr: torch is loaded in the fitting process, which Julia does not bear; unload it")
    rng = stream(settings.seed, "pysr", "warm-up")
    given = {**parameters(settings, folder), **_SMALL}
    _fit(given, rng.normal(size=problem.features.shape), rng.normal(size=problem.target.shape), problem)
    _warm.add(kind)


def search(problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
    """Return the expressions of PySR's hall of fame.

    Args:
        problem: What to fit.
        folder: Where PySR writes its hall of fame, as it goes.
        report: Not needed; see ``partial``.

    Raises:
        DistilleryError: PySR found nothing at all.
        Stopped: PySR kept to its own time limit.
    """
    given = parameters(problem.settings, folder)
    started = time.monotonic()
    found = translated(_fit(given, problem.features, problem.target, problem))
    if not found:
        raise DistilleryError("pysr: gave no expression; raise distillation.seconds or distillation.pysr.iterations")
    if time.monotonic() - started >= given["timeout_in_seconds"]:
        raise Stopped(found, f"stopped by PySR at its limit of {given['timeout_in_seconds']:g} s")
    return found


def _fit(given: dict[str, Any], features: np.ndarray, target: np.ndarray, problem: Problem) -> list[str]:
    """Run PySR and return its expressions."""
    from pysr import PySRRegressor

    if problem.guesses:
        given = {**given, "guesses": list(problem.guesses)}
    model = PySRRegressor(**given)
    model.fit(features, target, variable_names=list(problem.names))
    return [str(text) for text in model.equations_["equation"]]


def partial(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Return what a killed search left in its hall of fame.

    Args:
        folder: As given to ``search``.
        names: Names of the features.
    """
    return translated(guesses(folder))


def guesses(folder: Path) -> list[str]:
    """Return the hall of fame of a search in PySR's own notation, in which it can be given to another search.

    PySR writes it twice, one file after the other. A search that was killed may have left one of them cut.

    Args:
        folder: As given to ``search``.
    """
    found: dict[str, None] = {}
    for name in ("hall_of_fame.csv", "hall_of_fame.csv.bak"):
        with contextlib.suppress(OSError, csv.Error, UnicodeDecodeError):
            text = (folder / _RUN / name).read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            found |= {row["Equation"]: None for row in csv.DictReader(io.StringIO(whole)) if row.get("Equation")}
    return list(found)


# Julia writes numbers of 32 bits as 1.5f-3.
_FLOAT32 = re.compile(r"\b(\d+\.?\d*)f([+-]?\d+)\b")


def translated(texts: list[str]) -> list[str]:
    """Bring PySR's expressions to the notation of ``formula.parse``; those that cannot be are left out.

    ``greater(a, b)`` and ``less(a, b)`` are 1 or 0, ``cond(a, b)`` is b where a > 0, else 0.
    """
    found = []
    for text in texts:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            tree = ast.parse(_FLOAT32.sub(r"\1e\2", text).replace("^", "**"), mode="eval")
            found.append(ast.unparse(_Translator().visit(tree)))
    return found


class _Translator(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        arguments = [self.visit(argument) for argument in node.args]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        match name, arguments:
            case (("greater" | "less"), [left, right]):
                return _if(left, ast.Gt() if name == "greater" else ast.Lt(), right, ast.Constant(1))
            case "cond", [ast.IfExp(test=test, body=ast.Constant(value=1), orelse=ast.Constant(value=0)), value]:
                # A comparison decides by itself.
                return ast.IfExp(test=test, body=value, orelse=ast.Constant(0))
            case "cond", [test, value]:
                return _if(test, ast.Gt(), ast.Constant(0), value)
        return ast.Call(node.func, arguments, [])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) != 1:
            raise ValueError("a chain of comparisons")
        return _if(self.visit(node.left), node.ops[0], self.visit(node.comparators[0]), ast.Constant(1))


def _if(left: Any, operator: ast.cmpop, right: Any, value: Any) -> ast.IfExp:
    return ast.IfExp(test=ast.Compare(left, [operator], [right]), body=value, orelse=ast.Constant(0))
