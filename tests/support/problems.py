"""Problems for tests of symbolic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from distillery.physics import formula
from distillery.symbolic.engine import Problem
from distillery.symbolic.settings import DistillationSettings

NAMES = ("dx", "dy", "r", "m1", "m2", "q1", "q2")


def parse(text: str) -> sympy.Expr:
    return formula.parse(text, NAMES)


def inputs(count: int = 400, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    displacement = rng.normal(0, 1.4, (count, 2))
    columns = [*displacement.T, np.linalg.norm(displacement, axis=1)]
    columns += [*np.exp(rng.normal(size=(2, count))), *rng.choice([-1.0, 1.0], (2, count))]
    return dict(zip(NAMES, columns, strict=True))


def problem(text: str, noise: float = 0.0, count: int = 400, **settings: Any) -> Problem:
    train, test = inputs(count, 1), inputs(count, 2)
    rng = np.random.default_rng(3)
    targets = [formula.evaluate(parse(text), columns) for columns in (train, test)]
    targets = [target + noise * np.std(target) * rng.normal(size=count) for target in targets]
    return Problem(
        names=NAMES,
        features=np.column_stack(list(train.values())),
        target=targets[0],
        held_out_features=np.column_stack(list(test.values())),
        held_out_target=targets[1],
        settings=DistillationSettings(**settings),
    )
