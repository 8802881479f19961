"""The PySR engine with the paper's parameters: operators, complexities, mean absolute error.

PySR starts Julia on import, so only the fitting process imports it; it finds Julia and its packages in a prepared depot
(``distillery.symbolic.julia``). Searches are serial and deterministic by default: equal seeds give equal fronts.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import dataclasses
import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.errors import DistilleryError
from distillery.randomness import integer_seed, stream
from distillery.symbolic import julia, signature
from distillery.symbolic.engine import Problem, Stopped
from distillery.symbolic.settings import DistillationSettings

_BINARY = {"+": "+", "-": "-", "*": "*", "/": "/", "^": "^", ">": "greater", "<": "less", "if": "cond"}
_UNARY = {"exp": "exp", "log": "log"}
_COSTLY = {"^": 3, "exp": 3, "log": 3, "cond": 3}
_LOSS = "L1DistLoss()"
_RUN = "run"
# A search that ends by itself keeps its process, which saves 15 s of loading and compiling. PySR checks its clock
# between steps and then writes its results. The process is killed this many seconds plus this share of the limit later.
_OVERTIME, _OVERTIME_SHARE = 10.0, 0.05
# PySR draws constants of order one. A quantity whose typical size lies outside this range is divided by a power of two,
# which changes no digit.
_ORDER_ONE = (1 / 8, 8.0)
# The smallest search that compiles all functions of a search.
_SMALL = {"niterations": 1, "populations": 2, "ncycles_per_iteration": 10}
_NEWEST = "2.7"


def missing() -> str | None:
    """Return what this machine lacks for the engine, or None; PySR is not imported."""
    folder = signature.source()
    if folder is None:
        return "the Python package pysr is not installed"
    version = julia.version_of("pysr")
    given = parameters(DistillationSettings(engine="pysr", operators=(*_BINARY, *_UNARY)), Path())  # type: ignore[arg-type]
    operators = [*given["binary_operators"], *given["unary_operators"]]
    try:
        unknown = signature.unknown(folder, [*given, "guesses"], ["X", "y", "variable_names"], operators, _LOSS)
    except (OSError, SyntaxError, ValueError) as error:
        return f"PySR {version} in {folder} cannot be checked ({error}); the newest version known to work is {_NEWEST}"
    if unknown:
        return f"PySR {version} does not support {', '.join(unknown)}; the newest version known to work is {_NEWEST}"
    return None


def unprepared(depot: Path) -> str | None:
    """Return why no fit can run from a depot, with the command that prepares it, or None."""
    reason = julia.unprepared(depot)
    return f"{reason}; run `distillery julia-setup` where there is a network" if reason else None


def environment(settings: DistillationSettings, depot: Path) -> dict[str, str]:
    """Return the environment variables of a fitting process: offline, from a depot.

    Raises:
        DistilleryError: The depot is not prepared.
    """
    prepared = julia.read_marker(depot)
    if prepared is None:
        raise DistilleryError(f"{depot}: not prepared; run `distillery julia-setup` where there is a network")
    return julia.environment(depot, prepared, settings.memory_mb)


def threads(settings: DistillationSettings, cores: int) -> int:
    """Return the Julia threads of a fit: one, or all cores of its worker."""
    return cores if settings.pysr.parallelism == "multithreading" else 1


def overtime(settings: DistillationSettings) -> float:
    """Return the seconds beyond its limit within which PySR ends a search by itself."""
    return _OVERTIME + _OVERTIME_SHARE * settings.seconds


def unknown_operators(settings: DistillationSettings) -> tuple[str, ...]:
    """Return the configured operators that PySR does not support: none."""
    return tuple(operator for operator in settings.operators if operator not in _BINARY | _UNARY)


def parameters(settings: DistillationSettings, folder: Path) -> dict[str, Any]:
    """Return the arguments of ``PySRRegressor``.

    Args:
        settings: Operators, budget and seed.
        folder: Folder of PySR's hall of fame.
    """
    binary = [_BINARY[operator] for operator in settings.operators if operator in _BINARY]
    unary = [_UNARY[operator] for operator in settings.operators if operator in _UNARY]
    costly = {name: cost for name, cost in _COSTLY.items() if name in (*binary, *unary)}
    budget = settings.pysr
    return {
        # Empty binary operators must be given: without the argument PySR takes + - * /.
        "binary_operators": binary,
        # Julia receives an empty mapping or list without a type of its entries, and fails on it.
        **({"unary_operators": unary} if unary else {}),
        **({"complexity_of_operators": costly} if costly else {}),
        "elementwise_loss": _LOSS,
        "model_selection": "score",
        "niterations": budget.iterations,
        "populations": budget.populations,
        "population_size": budget.population_size,
        "ncycles_per_iteration": budget.cycles,
        "maxsize": budget.max_size,
        # By default PySR compares expressions on 256 of 5,000 samples. The mean absolute error of forces with heavy
        # tails varies so much between such batches that small improvements are lost.
        "batching": budget.batch is not None,
        **({"batch_size": budget.batch} if budget.batch is not None else {}),
        "timeout_in_seconds": settings.seconds,
        "parallelism": budget.parallelism,
        "deterministic": budget.parallelism == "serial",
        "random_state": integer_seed(settings.seed, "pysr") % 2**31,
        "progress": False,
        "verbosity": 0,
        "input_stream": "devnull",
        "output_directory": str(folder),
        "run_id": _RUN,
    }


@dataclasses.dataclass(frozen=True)
class Scales:
    """Powers of two by which PySR's inputs and target are divided.

    Attributes:
        features: Scale of each feature, by name, where it is not 1.
        target: Scale of the target.
    """

    features: dict[str, float]
    target: float

    @classmethod
    def of(cls, problem: Problem) -> Scales:
        """Return the scales of a problem's training data."""
        sizes = {name: _power_of_two(column) for name, column in problem.columns.items()}
        return cls({name: size for name, size in sizes.items() if size != 1.0}, _power_of_two(problem.target))


def _power_of_two(values: Float[np.ndarray, " sample"]) -> float:
    """Return the power of two nearest to the median size of nonzero values, or 1 if that is of order one."""
    sizes = np.abs(values[values != 0])
    typical = float(np.median(sizes)) if len(sizes) else 1.0
    smallest, largest = _ORDER_ONE
    return 1.0 if smallest <= typical <= largest else float(2.0 ** np.round(np.log2(typical)))


_warm: set[tuple[object, ...]] = set()


def warm_up(problem: Problem, folder: Path) -> None:
    """Start Julia and compile a search over such data with such operators, once per process.

    Args:
        problem: The next problem. The data of the warm-up are random numbers of the same shape.
        folder: Folder of PySR's hall of fame.

    Raises:
        DistilleryError: The process has loaded torch, which crashes Julia.
    """
    settings = problem.settings
    kind = (settings.operators, settings.pysr, problem.features.shape, bool(problem.guesses))
    if kind in _warm:
        return
    if "torch" in sys.modules:
        raise DistilleryError("pysr: torch is loaded in the fitting process, which crashes Julia; unload it")
    rng = stream(settings.seed, "pysr", "warm-up")
    random = dataclasses.replace(
        problem, features=rng.normal(size=problem.features.shape), target=rng.normal(size=problem.target.shape)
    )
    _fit(parameters(settings, folder) | _SMALL, random)
    _warm.add(kind)


def search(problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
    """Return the expressions of PySR's hall of fame.

    Args:
        problem: The problem.
        folder: Folder of PySR's hall of fame.
        report: Not used; see ``partial``.

    Raises:
        DistilleryError: PySR found nothing at all.
        Stopped: PySR ended at its own time limit.
    """
    given = parameters(problem.settings, folder)
    started = time.monotonic()
    found = translated(_fit(given, problem), Scales.of(problem))
    elapsed = time.monotonic() - started
    limit = f"its limit of {problem.settings.seconds:g} s"
    if not found and elapsed >= problem.settings.seconds:
        raise TimeoutError(f"PySR had no expression within {limit}; raise distillation.seconds")
    if not found:
        raise DistilleryError("pysr: gave no expression; raise distillation.pysr.iterations")
    if elapsed >= problem.settings.seconds:
        raise Stopped(found, f"stopped by PySR at {limit}")
    return found


def _fit(given: dict[str, Any], problem: Problem) -> list[str]:
    """Run PySR on scaled data and return its expressions of them."""
    from pysr import PySRRegressor

    if problem.guesses:
        given = {**given, "guesses": list(problem.guesses)}
    scales = Scales.of(problem)
    divisors = np.array([scales.features.get(name, 1.0) for name in problem.names])
    model = PySRRegressor(**given)
    model.fit(problem.features / divisors, problem.target / scales.target, variable_names=list(problem.names))
    return [str(text) for text in model.equations_["equation"]]


def partial(folder: Path, problem: Problem) -> list[str]:
    """Return the expressions that a killed search left in its hall of fame.

    Args:
        folder: As given to ``search``.
        problem: As given to ``search``.
    """
    return translated(guesses(folder), Scales.of(problem))


def guesses(folder: Path) -> list[str]:
    """Return the hall of fame of a search in PySR's own notation and of scaled data, for another search of the same.

    PySR writes two copies, one after the other. A killed search may have left one of them incomplete.

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


def translated(texts: list[str], scales: Scales = Scales({}, 1.0)) -> list[str]:
    """Return PySR's expressions in the notation of ``formula.parse`` and of unscaled data.

    ``greater(a, b)`` and ``less(a, b)`` are 1 or 0, ``cond(a, b)`` is b where a > 0, else 0.

    Args:
        texts: Expressions as PySR writes them; those that cannot be translated are left out.
        scales: Scales by which the inputs and the target were divided.
    """
    found = []
    for text in texts:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            tree = ast.parse(_FLOAT32.sub(r"\1e\2", text).replace("^", "**"), mode="eval")
            expression = ast.unparse(_Translator(scales).visit(tree))
            found.append(expression if scales.target == 1.0 else f"{scales.target!r} * ({expression})")
    return found


class _Translator(ast.NodeTransformer):
    def __init__(self, scales: Scales) -> None:
        self._scales = scales

    def visit_Name(self, node: ast.Name) -> ast.AST:
        scale = self._scales.features.get(node.id)
        return node if scale is None else ast.BinOp(node, ast.Mult(), ast.Constant(1 / scale))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        arguments = [self.visit(argument) for argument in node.args]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        match name, arguments:
            case (("greater" | "less"), [left, right]):
                return _if(left, ast.Gt() if name == "greater" else ast.Lt(), right, ast.Constant(1))
            case "cond", [ast.IfExp(test=test, body=ast.Constant(value=1), orelse=ast.Constant(value=0)), value]:
                # A comparison is a condition already.
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
