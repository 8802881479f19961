"""Formulas as data: a safe parser, one evaluator for NumPy and PyTorch, and one printer.

Python's ``ast`` parses text from a configuration, a command line or a store, and a whitelist rebuilds it node by node;
no text is ever executed (``sympy.sympify`` would). The evaluator generates no code.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from distillery.errors import DistilleryError
from distillery.physics.printing import Printer

FUNCTIONS: dict[str, Callable[..., sympy.Expr]] = {
    "exp": sympy.exp,
    "log": sympy.log,
    "sqrt": sympy.sqrt,
    "abs": sympy.Abs,
    "Abs": sympy.Abs,
    "min": sympy.Min,
    "max": sympy.Max,
    "Min": sympy.Min,
    "Max": sympy.Max,
}
MAX_LENGTH = 10_000
# Numbers become float64: larger exact integers only cost time, without bound in a power.
_LARGEST_EXACT, _LARGEST_LOG = 10**15, 300 * math.log(10)
_NOT_FINITE = "is not a finite real expression; look for a division by zero or an overflow"


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if exponent.is_number:
        if abs(exponent) > 100:
            raise DistilleryError(f"exponent {exponent} is too large; at most 100")
        factor = abs(float(base.as_coeff_Mul()[0]))
        if factor and not abs(math.log(factor) * float(exponent)) < _LARGEST_LOG:
            raise DistilleryError("a power of a number in it is too large; at most 1e300")
    return base**exponent


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: _power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: sympy.Gt,
    ast.GtE: sympy.Ge,
    ast.Lt: sympy.Lt,
    ast.LtE: sympy.Le,
}


def symbol(name: str) -> sympy.Symbol:
    """Return the real symbol of a name; all formulas of the package use these."""
    return sympy.Symbol(name, real=True)


def parse(text: str, symbols: Collection[str]) -> sympy.Expr:
    """Parse a formula.

    Args:
        text: Arithmetic with ``+ - * / ** ^``, numbers, the functions of ``FUNCTIONS``, the given symbols, and ``A if r
            > 2 else B`` for piecewise formulas.
        symbols: Names that may occur.

    Returns:
        The expression in real symbols (see ``symbol``).

    Raises:
        DistilleryError: The text does not parse or uses anything else.
    """
    if len(text) > MAX_LENGTH:
        raise DistilleryError(f"formula of {len(text)} characters is too long; at most {MAX_LENGTH}")
    try:
        result = _rounded(_build(_tree(text).body, frozenset(symbols)))
    except DistilleryError as error:
        raise DistilleryError(f"formula {text!r}: {error}") from None
    except SyntaxError as error:
        raise DistilleryError(f"formula {text!r}: does not parse ({error.msg}); write it like 'm1*m2*log(r)'") from None
    except (RecursionError, MemoryError):
        raise DistilleryError(f"formula {text[:60]!r}…: does not parse; it is too deeply nested") from None
    except (TypeError, ValueError, ArithmeticError):
        # SymPy raises these for comparisons of values that are not real numbers.
        raise DistilleryError(f"formula {text!r}: {_NOT_FINITE}") from None
    return result


def _tree(text: str) -> ast.Expression:
    try:
        return ast.parse(text.strip().replace("^", "**"), mode="eval")
    except ValueError as error:
        raise DistilleryError(f"does not parse ({error}); write it like 'm1*m2*log(r)'") from None


def _build(node: ast.AST, symbols: frozenset[str]) -> Any:
    built = _node(node, symbols)
    if built.is_number and not _is_finite(built):
        raise DistilleryError(_NOT_FINITE)
    return built


def _is_finite(number: sympy.Expr) -> bool:
    """Return whether a number is real and finite in float64; SymPy would first look for an exact value."""
    try:
        return math.isfinite(float(evaluate(number, {})))
    except (DistilleryError, ArithmeticError, TypeError):
        return False


def _rounded(expression: sympy.Expr) -> sympy.Expr:
    """Return an expression whose numbers are finite, and exact only if they are small."""
    if expression.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
        raise DistilleryError(_NOT_FINITE)
    large = {}
    for number in expression.atoms(sympy.Number):
        if not math.isfinite(float(number)):
            raise DistilleryError(_NOT_FINITE)
        if number.is_Rational and max(abs(number.p), number.q) > _LARGEST_EXACT:
            large[number] = sympy.Float(float(number))
    return expression.xreplace(large)


def _node(node: ast.AST, symbols: frozenset[str]) -> Any:
    match node:
        case ast.Constant(value=bool()):
            raise DistilleryError("truth values are not numbers; use numbers only")
        case ast.Constant(value=int() | float() as value):
            return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
        case ast.Name(id=name):
            if name not in symbols:
                raise DistilleryError(f"unknown symbol {name!r}; known are {', '.join(sorted(symbols))}")
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand, symbols)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand, symbols)
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return sympy.Add(*_terms(node, symbols))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            a, b = _build(left, symbols), _build(right, symbols)
            return _BINARY[type(operator)](a, b)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            built = [_build(argument, symbols) for argument in arguments]
            try:
                return FUNCTIONS[name](*built)
            except TypeError:
                raise DistilleryError(f"{name} does not take {len(built)} arguments") from None
        case ast.IfExp(test=ast.Compare(left=left, ops=[comparison], comparators=[right]), body=yes, orelse=no) if (
            type(comparison) in _COMPARE
        ):
            condition = _COMPARE[type(comparison)](_build(left, symbols), _build(right, symbols))
            return sympy.Piecewise((_build(yes, symbols), condition), (_build(no, symbols), True))
        case _:
            shown = ast.unparse(node)
            raise DistilleryError(
                f"{shown!r} is not allowed; allowed are + - * / ** ^, numbers, 'A if r > 2 else B' and the functions "
                + ", ".join(sorted(FUNCTIONS))
            )


def _terms(node: ast.AST, symbols: frozenset[str]) -> list[Any]:
    """Return the terms of a sum in their written order; adding them one by one takes quadratic time."""
    found: list[Any] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        term = _build(node.right, symbols)
        found.append(-term if isinstance(node.op, ast.Sub) else term)
        node = node.left
    return [_build(node, symbols), *reversed(found)]


def to_text(expression: sympy.Expr) -> str:
    """Return text that ``parse`` reads back as the same expression."""
    return str(Printer({"full_prec": False}).doprint(expression))


@dataclasses.dataclass(frozen=True)
class Backend:
    """Array library in which expressions are evaluated.

    Attributes:
        array: Converts a value to a float64 array.
        where: Selects between two arrays by a third one.
        power: Raises an array to a power.
        functions: Function of the evaluated arguments for each class of SymPy's expressions.
    """

    array: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]
    power: Callable[[Any, Any], Any]
    functions: Mapping[type, Callable[[list[Any]], Any]]


def evaluate(expression: sympy.Expr, values: Mapping[str, Any]) -> Any:
    """Evaluate an expression on arrays by walking its tree; common subexpressions are evaluated once.

    Args:
        expression: An expression as ``parse`` returns it, or derivatives of one.
        values: A number or an array for each symbol's name; all arrays broadcast to one shape.

    Returns:
        A float64 array of the broadcast shape (0-dimensional for constants). Singular values are inf or NaN, without a
            warning.

    Raises:
        DistilleryError: A symbol has no value, or a function is unknown.
    """
    return next(evaluated([expression], values))


def evaluated(
    expressions: Sequence[sympy.Expr], values: Mapping[str, Any], backend: Backend | None = None
) -> Iterator[Any]:
    """Evaluate several expressions in their order; common subexpressions are evaluated once.

    Derivatives of a nested quotient repeat its parts so often that their trees are many times larger than the set of
    their different parts. An array is released after its last use.

    Args:
        expressions: As for ``evaluate``.
        values: As for ``evaluate``.
        backend: Array library; None for NumPy.

    Yields:
        The value of each expression, as from ``evaluate``.

    Raises:
        DistilleryError: A symbol has no value, or a function is unknown.
    """
    backend = backend or _NUMPY
    walk = _Walk(expressions, values, backend)
    for expression in expressions:
        with np.errstate(all="ignore"):
            found = backend.array(walk.of(expression))
        yield found


class _Walk:
    """Evaluates nodes of expressions and keeps values that are used again."""

    def __init__(self, expressions: Sequence[sympy.Expr], values: Mapping[str, Any], backend: Backend) -> None:
        self._values, self._backend = values, backend
        self._kept: dict[Any, Any] = {}
        self._uses: dict[Any, int] = {}
        stack: list[Any] = list(expressions)
        while stack:
            node = stack.pop()
            if node.args:
                self._uses[node] = self._uses.get(node, 0) + 1
                if self._uses[node] == 1:
                    stack.extend(node.args)

    def of(self, node: Any) -> Any:
        if not node.args:
            return self._leaf(node)
        if node in self._kept:
            found = self._kept[node]
        else:
            found = self._inner(node)
            self._kept[node] = found
        self._uses[node] = self._uses.get(node, 0) - 1
        if self._uses[node] <= 0:
            del self._kept[node]
        return found

    def _leaf(self, node: Any) -> Any:
        if node.is_Symbol:
            if node.name not in self._values:
                raise DistilleryError(f"formula: the symbol {node.name!r} has no value here")
            return self._backend.array(self._values[node.name])
        if node.is_Number or node.is_NumberSymbol:
            return float(node)
        if node in (sympy.true, sympy.false):
            return np.asarray(node == sympy.true)
        raise _unknown(node)

    def _inner(self, node: Any) -> Any:
        if isinstance(node, sympy.Pow):
            if node.exp.is_Integer and 0 < int(node.exp) <= 8:
                base: Any = self.of(node.base)
                result: Any = 1.0
                for _ in range(int(node.exp)):
                    result = result * base
                return result
            return self._backend.power(self.of(node.base), self.of(node.exp))
        if isinstance(node, sympy.Piecewise):
            piecewise: Any = np.nan
            for value, condition in reversed(node.args):
                if condition == sympy.true:
                    piecewise = self.of(value)
                elif condition != sympy.false:
                    piecewise = self._backend.where(self.of(condition), self.of(value), piecewise)
            return piecewise
        function = self._backend.functions.get(type(node))
        if function is None:
            raise _unknown(node)
        return function([self.of(argument) for argument in node.args])


def _unknown(node: Any) -> DistilleryError:
    return DistilleryError(f"formula: cannot evaluate {type(node).__name__} in {node}")


def folded(function: Callable[[Any, Any], Any]) -> Callable[[list[Any]], Any]:
    """Return a function of any number of arguments from a function of two."""

    def apply(arguments: list[Any]) -> Any:
        result = arguments[0]
        for argument in arguments[1:]:
            result = function(result, argument)
        return result

    return apply


_NUMPY = Backend(
    lambda value: np.asarray(value, dtype=np.float64),
    np.where,
    np.power,
    {
        sympy.Add: folded(np.add),
        sympy.Mul: folded(np.multiply),
        sympy.exp: lambda a: np.exp(a[0]),
        sympy.log: lambda a: np.log(a[0]),
        sympy.Abs: lambda a: np.abs(a[0]),
        sympy.sign: lambda a: np.sign(a[0]),
        sympy.Min: folded(np.minimum),
        sympy.Max: folded(np.maximum),
        # Derivatives of a sign: zero, except at a point that no data reach.
        sympy.DiracDelta: lambda a: np.zeros_like(a[0]),
        sympy.Heaviside: lambda a: np.heaviside(a[0], 0.5),
        sympy.StrictGreaterThan: lambda a: np.greater(a[0], a[1]),
        sympy.GreaterThan: lambda a: np.greater_equal(a[0], a[1]),
        sympy.StrictLessThan: lambda a: np.less(a[0], a[1]),
        sympy.LessThan: lambda a: np.less_equal(a[0], a[1]),
        sympy.And: folded(np.logical_and),
        sympy.Or: folded(np.logical_or),
        sympy.Not: lambda a: np.logical_not(a[0]),
        sympy.ITE: lambda a: np.where(a[0], a[1], a[2]),
    },
)
