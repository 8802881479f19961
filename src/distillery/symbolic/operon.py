"""The operon engine: NSGA-II over error and length in C++ (pyoperon), constants by Levenberg-Marquardt.

The budget is a number of generations, never a time, and one thread runs it: equal seeds give equal fronts.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from distillery.physics import formula
from distillery.randomness import integer_seed, stream
from distillery.symbolic import fits, tuning
from distillery.symbolic.engine import Problem
from distillery.symbolic.front import choose, pareto_front
from distillery.symbolic.neighbours import hill_climbed
from distillery.symbolic.settings import DistillationSettings
from distillery.symbolic.threshold_split import best_split, refined
from distillery.symbolic.tidying import tidied

# Operators that threshold splits provide, see ``symbolic.threshold_split``. Comparisons used as numbers, 0 and 1, are
# never produced.
_PIECEWISE = frozenset({">", "<", "if"})
_PRIMITIVES = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "^": "Pow", "exp": "Exp", "log": "Log"}
_UNLIMITED = 2**62


def missing() -> str | None:
    """Return what this machine lacks for the engine, or None."""
    return None if importlib.util.find_spec("pyoperon") else "the Python package pyoperon is not installed"


def unprepared(depot: Path) -> str | None:
    """Return None: operon needs no preparation."""
    return None


def environment(settings: DistillationSettings, depot: Path) -> dict[str, str]:
    """Return nothing: operon needs no environment variables."""
    return {}


def threads(settings: DistillationSettings, cores: int) -> int:
    """Return one: with more threads fronts would differ between runs."""
    return 1


def unknown_operators(settings: DistillationSettings) -> tuple[str, ...]:
    """Return the configured operators that operon does not support in any form."""
    return tuple(operator for operator in settings.operators if operator not in _PRIMITIVES.keys() | _PIECEWISE)


def overtime(settings: DistillationSettings) -> float:
    """Return 0: operon has no time limit of its own."""
    return 0.0


def partial(folder: Path, problem: Problem) -> list[str]:
    """Return nothing: operon writes no files and reports its front while it runs."""
    return []


def guesses(folder: Path) -> list[str]:
    """Return nothing: operon cannot continue a search."""
    return []


def warm_up(problem: Problem, folder: Path) -> None:
    """Load the library."""
    import pyoperon  # noqa: F401


def search(problem: Problem, folder: Path, report: Callable[[list[str]], None]) -> list[str]:
    """Return the expressions of operon's Pareto front, their neighbours and, with ``if``, piecewise ones.

    Operon has no ``if``. If that is configured, half of the generations search all samples, the others the two sides of
    the best threshold split, or all samples again if none pays; some points of both fronts are joined to ``A if feature
    > threshold else B``.

    Args:
        problem: The problem.
        folder: Not used.
        report: Receives the front every few generations.
    """
    if "if" not in problem.settings.operators:
        return _search(problem, (), 1.0, report)
    whole = _search(problem, (), 0.5, report)
    report(whole)
    chosen = _sample(problem)
    columns = {name: column[chosen] for name, column in problem.columns.items()}
    split = best_split(columns, problem.target[chosen])
    if split is None:
        again = _search(problem, ("again",), 0.5, lambda found: report([*whole, *found]))
        return list(dict.fromkeys([*whole, *again]))
    upper = split.upper(problem.columns)
    sides = []
    upper_varies_more = float(np.ptp(problem.target[upper])) >= float(np.ptp(problem.target[~upper]))
    for name, here, most in (("upper", upper, upper_varies_more), ("lower", ~upper, not upper_varies_more)):
        side = dataclasses.replace(problem, features=problem.features[here], target=problem.target[here])
        texts = (
            _search(side, (name,), 0.25, lambda found: report(whole)) if here.sum() >= tuning.FEWEST_SEARCHED else []
        )
        sides.append(_some(texts, side, tuning.JOINED if most else 0))
    joined = []
    for above, below in itertools.product(*sides):
        best = refined(split, above, below, problem.columns, problem.target)
        joined.append(formula.to_text(best.joined(above, below)))
    return list(dict.fromkeys([*whole, *joined]))


def _some(texts: list[str], side: Problem, spaced: int) -> list[sympy.Expr]:
    """Return the constant, the paper's choice, the best and some more expressions of the front of one side.

    The best expression of the whole depends on both sides, so the choice of one side alone is not enough.
    """
    constant = sympy.Float(float(np.median(side.target)))
    front = pareto_front(tidied(_few(texts, side), side.columns, side.target), side.columns, side.target)
    more = np.linspace(1, len(front) - 1, spaced).round().astype(int).tolist() if len(front) > 1 else []
    picked = [
        front[index].expression for index in (choose(front), len(front) - 1, *more) if index is not None and front
    ]
    return list(dict.fromkeys([constant, *fits.parsed(picked, side.names)]))


def _few(texts: list[str], side: Problem) -> list[sympy.Expr]:
    """Return the Pareto front of the expressions of one side, which are then tidied."""
    front = pareto_front(fits.parsed(texts, side.names), side.columns, side.target)
    return fits.parsed([point.expression for point in front], side.names)


def _search(problem: Problem, part: tuple[str, ...], share: float, report: Callable[[list[str]], None]) -> list[str]:
    """Return the expressions of operon's Pareto front and their neighbours.

    Operon gets a subset of the samples (``operon.samples``) and the target divided by its standard deviation; scale and
    offset, which its error leaves free, are restored by least squares.

    Args:
        problem: The problem.
        part: Name of the part of the samples, for a seed of its own; empty for all of them.
        share: Share of the generations of this search.
        report: Receives the front every few generations.
    """
    import pyoperon as op

    chosen = _sample(problem)
    features, target = problem.features[chosen], problem.target[chosen]
    spread = float(np.std(target)) or 1.0
    # Operon's objects refer to each other and to this array without owning them: all must live while it runs.
    table = np.asfortranarray(np.column_stack([features, target / spread]), dtype=np.float32)
    dataset = op.Dataset(table)
    task, names = _task(op, dataset, problem)
    algorithm, _alive = _algorithm(op, task, problem, part, share)

    columns = dict(zip(problem.names, features.T, strict=True))

    def front() -> list[str]:
        trees = [to_sympy(op, individual.Genotype.Nodes, names) for individual in algorithm.BestFront]
        scaled = [_scaled(tree, columns, target) for tree in trees]
        return sorted({formula.to_text(expression) for expression in scaled if expression is not None})

    def each_generation() -> None:
        if algorithm.Generation % tuning.REPORT_EVERY == 0:
            report(front())

    algorithm.Run(op.RandomGenerator(np.uint64(_seed(problem, part))), each_generation, 1, False)
    return _improved(front(), columns, target)


def _improved(texts: list[str], columns: dict[str, np.ndarray], target: np.ndarray) -> list[str]:
    """Add the expressions that hill climbing finds from the best expressions of a few lengths."""
    expressions = fits.parsed(texts, tuple(columns))
    front = pareto_front(expressions, columns, target)
    spaced = [int(index) for index in np.linspace(1, len(front) - 1, tuning.HILL_CLIMBING_STARTS).round()]
    starts = dict.fromkeys([choose(front), len(front) - 1, *spaced])
    found = dict.fromkeys(texts)
    for index in starts:
        if index is not None and 0 <= index < len(front):
            start = formula.parse(front[index].expression, tuple(columns))
            found |= dict.fromkeys(formula.to_text(each) for each in hill_climbed(start, columns, target))
    return list(found)


def _seed(problem: Problem, part: tuple[str, ...]) -> int:
    return integer_seed(problem.settings.seed, "operon", *part)


def _task(op: Any, dataset: Any, problem: Problem) -> tuple[Any, dict[int, str]]:
    """Return operon's problem and the names of the variables by operon's hashes."""
    variables = sorted(dataset.Variables, key=lambda variable: variable.Index)
    task = op.Problem(dataset)
    task.TrainingRange = op.Range(0, dataset.Rows)
    task.TestRange = op.Range(dataset.Rows - 1, dataset.Rows)
    task.Target = variables[-1]
    task.InputHashes = [variable.Hash for variable in variables[:-1]]
    primitives = int(op.NodeType.Constant) | int(op.NodeType.Variable)
    for operator in problem.settings.operators:
        if operator in _PRIMITIVES:
            primitives |= int(getattr(op.NodeType, _PRIMITIVES[operator]))
    task.ConfigurePrimitiveSet(primitives)
    return task, {v.Hash: name for v, name in zip(variables[:-1], problem.names, strict=True)}


def _algorithm(
    op: Any, task: Any, problem: Problem, part: tuple[str, ...], share: float
) -> tuple[Any, tuple[Any, ...]]:
    """Return the algorithm and the objects that must live as long as it does."""
    settings = problem.settings.operon
    inputs, symbols = task.InputHashes, task.PrimitiveSet
    creator = op.BalancedTreeCreator(symbols, inputs, 0.0)
    coefficients = op.NormalCoefficientInitializer()
    coefficients.ParameterizeDistribution(0, 1)
    functions = op.DispatchTable()
    optimizer = op.LMOptimizer(functions, task, settings.local_iterations, 0)
    error = op.Evaluator(task, functions, op.MSE(), True)
    length = op.LengthEvaluator(task)
    objectives = op.MultiEvaluator(task)
    objectives.Add(error)
    objectives.Add(length)
    for evaluator in (error, length, objectives):
        evaluator.Budget = _UNLIMITED
    order = op.CrowdedComparison()
    parents = [op.TournamentSelector(order), op.TournamentSelector(order)]
    for selector in parents:
        selector.TournamentSize = tuning.TOURNAMENT
    crossover = op.SubtreeCrossover(0.9, tuning.MAX_DEPTH, settings.max_length)
    mutations = _mutations(op, inputs, symbols, creator, coefficients, settings.max_length)
    mutation = op.MultiMutation()
    for single in mutations:
        mutation.Add(single, 1.0)
    local = op.CoefficientOptimizer(optimizer)
    generator = op.BasicOffspringGenerator(objectives, crossover, mutation, *parents, local)
    reinserter = op.KeepBestReinserter(order)
    initializer = op.UniformLengthTreeInitializer(creator)
    fewest_arguments, _ = symbols.FunctionArityLimits()
    initializer.ParameterizeDistribution(fewest_arguments + 1, min(tuning.INITIAL_LENGTH, settings.max_length))
    initializer.MinDepth = 1
    initializer.MaxDepth = 1000
    config = op.GeneticAlgorithmConfig(
        generations=max(round(share * settings.generations), 1),
        max_evaluations=_UNLIMITED,
        local_iterations=settings.local_iterations,
        population_size=settings.population,
        pool_size=settings.population,
        p_crossover=1.0,
        p_mutation=tuning.MUTATION_PROBABILITY,
        epsilon=tuning.OPERON_EPSILON,
        seed=_seed(problem, part),
        max_time=_UNLIMITED,
    )
    sorter = op.RankSorter()
    algorithm = op.NSGA2Algorithm(config, task, initializer, coefficients, generator, reinserter, sorter)
    alive = (symbols, creator, coefficients, functions, optimizer, error, length, objectives, order, *parents)
    alive += (crossover, *mutations, mutation, local, generator, reinserter, initializer, config, sorter)
    return algorithm, alive


def _sample(problem: Problem) -> np.ndarray:
    count, wanted = len(problem.target), problem.settings.operon.samples
    if count <= wanted:
        return np.arange(count)
    return np.sort(stream(problem.settings.seed, "operon", "samples").choice(count, wanted, replace=False))


def _mutations(op: Any, inputs: Any, symbols: Any, creator: Any, coefficients: Any, length: int) -> list[Any]:
    points = [op.NormalOnePointMutation(), op.NormalMultiPointMutation()]
    for point in points:
        point.ParameterizeDistribution(0, 1)
    return [
        *points,
        op.ChangeVariableMutation(inputs),
        op.ChangeFunctionMutation(symbols),
        op.InsertSubtreeMutation(creator, coefficients, tuning.MAX_DEPTH, length),
        op.ReplaceSubtreeMutation(creator, coefficients, tuning.MAX_DEPTH, length),
        op.RemoveSubtreeMutation(symbols),
    ]


def to_sympy(op: Any, nodes: list[Any], names: dict[int, str]) -> sympy.Expr | None:
    """Convert one of operon's trees to SymPy; None if it holds a constant that is not finite.

    Args:
        op: The pyoperon module.
        nodes: The tree in postfix order; a function's first argument is the last one before it.
        names: Names of the variables, by operon's hashes.
    """
    kinds = op.NodeType
    stack: list[Any] = []
    for node in nodes:
        if node.IsLeaf and not math.isfinite(node.Value):
            return None
        if node.IsConstant:
            stack.append(sympy.Float(float(node.Value)))
            continue
        if node.IsVariable:
            stack.append(sympy.Float(float(node.Value)) * formula.symbol(names[node.HashValue]))
            continue
        first, *rest = (stack.pop() for _ in range(node.Arity))
        if node.Type == kinds.Add:
            value = sympy.Add(first, *rest)
        elif node.Type == kinds.Mul:
            value = sympy.Mul(first, *rest)
        elif node.Type == kinds.Sub:
            value = first - sympy.Add(*rest) if rest else -first
        elif node.Type == kinds.Div:
            value = first / sympy.Mul(*rest) if rest else 1 / first
        elif node.Type == kinds.Pow:
            value = first ** rest[0]
        elif node.Type == kinds.Exp:
            value = sympy.exp(first)
        elif node.Type == kinds.Log:
            value = sympy.log(first)
        else:
            raise ValueError(f"operon used {node.Name}, which was not configured")
        stack.append(value)
    (expression,) = stack
    return None if expression.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I) else expression


def _scaled(expression: sympy.Expr | None, columns: dict[str, np.ndarray], target: np.ndarray) -> sympy.Expr | None:
    """Restore the scale and the offset that operon's error leaves free."""
    if expression is None:
        return None
    values = np.broadcast_to(formula.evaluate(expression, columns), target.shape)
    centred = values - values.mean()
    variance = float(centred @ centred)
    if not math.isfinite(variance):
        return None
    if variance == 0.0:
        return sympy.Float(float(target.mean()))
    slope = float(centred @ (target - target.mean())) / variance
    return sympy.Float(slope) * expression + sympy.Float(float(target.mean() - slope * values.mean()))
