"""Refuse formulas of systems on which SymPy would spend unbounded time, before SymPy reads them.

The time that SymPy takes for conditions grows exponentially with their nesting, and for nested quotients and roots with
a high power of it. The limits keep the slowest of these formulas below about a second.
"""

from __future__ import annotations

import ast

from distillery.errors import DistilleryError

# Levels that a nested function takes; a condition counts with the level of its comparison.
LEVELS = {"abs": 1, "Abs": 1, "min": 2, "max": 2, "Min": 2, "Max": 2}
CONDITION_LEVELS, MOST_LEVELS = 3, 8
MOST_DEEP = 40


def require_shallow(text: str) -> None:
    """Refuse a formula whose parts are nested too deeply; text that does not parse is left to the parser.

    Args:
        text: The formula, as for ``formula.parse``.

    Raises:
        DistilleryError: The formula exceeds a limit, which the message names.
    """
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        levels, depth = _kinks(tree), _depth(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    if levels > MOST_LEVELS:
        raise DistilleryError(
            f"formula {shown!r}: abs, min, max and conditions take {levels} levels within each other; at most "
            f"{MOST_LEVELS}, of which min and max take 2 each and a condition within a condition {CONDITION_LEVELS}"
        )
    if depth > MOST_DEEP:
        raise DistilleryError(
            f"formula {shown!r}: {depth} operations stand within each other; at most {MOST_DEEP}, where a sum or a "
            "product of any length is one"
        )


def _kinks(node: ast.AST) -> int:
    if isinstance(node, ast.IfExp):
        test = _kinks(node.test)
        return max(CONDITION_LEVELS + test, _kinks(node.body), _kinks(node.orelse))
    below = max((_kinks(child) for child in ast.iter_child_nodes(node)), default=0)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return below + LEVELS.get(node.func.id, 0)
    return below


def _depth(node: ast.AST, within: str = "") -> int:
    """Return the nesting depth of operations; those of one sum or product count once."""
    kind = _kind(node)
    below = max((_depth(child, kind) for child in ast.iter_child_nodes(node)), default=0)
    return below + (bool(kind) and kind != within)


def _kind(node: ast.AST) -> str:
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub()) | ast.UnaryOp():
            return "sum"
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            return "product"
        case ast.BinOp() | ast.Call():
            return type(node).__name__ + str(id(node))
    return ""
