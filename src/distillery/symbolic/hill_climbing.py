"""Hill climbing over the neighbours of an expression or a law."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

_State = TypeVar("_State")


def hill_climb(
    start: _State, neighbours: Callable[[_State], Iterable[_State]], cost: Callable[[_State], float], rounds: int
) -> list[_State]:
    """Move to the best neighbour while the cost falls; return the states on the way, without the start.

    Args:
        start: State to start from.
        neighbours: Returns the neighbours of a state; no more neighbours end the climb.
        cost: Quantity to minimise; it is computed once for each state.
        rounds: Steps at most.
    """
    found: list[_State] = []
    best, least = start, cost(start)
    for _ in range(rounds):
        nearest = min(((cost(one), number, one) for number, one in enumerate(neighbours(best))), default=None)
        if nearest is None or not nearest[0] < least:
            break
        least, _, best = nearest
        found.append(best)
    return found


def power_products(
    names: Iterable[str], most: int, signs: Callable[[str], Sequence[int]]
) -> Iterator[tuple[tuple[str, int], ...]]:
    """Yield the products of powers ±1 of some features, each as pairs of a name and an exponent; small products first.

    Args:
        names: Names of the features.
        most: Features in a product at most.
        signs: Exponents that a feature may have.
    """
    names = list(names)
    for count in range(1, most + 1):
        for chosen in itertools.combinations(names, count):
            for exponents in itertools.product(*map(signs, chosen)):
                yield tuple(zip(chosen, exponents, strict=True))
