"""Loss of the training: absolute errors with the configured weights; penalties have the same weights.

A weight w_i on each body's error Σ_d |a_d - â_d| and on the cost of the messages that arrive at it. With equal weights
this is the paper's loss (arXiv:2006.11287, section 4). Where accelerations have heavy tails, few close encounters make
up most of it; ``relative`` gives every body about the same say. What a body's messages cost is weighed like its error,
so that a penalty's factor means the same trade between the two whatever the loss.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from distillery.networks.settings import Loss


def typical_size(acceleration: Float[np.ndarray, "graph body dim"]) -> float:
    """Return the median of Σ_d |a_d| over all bodies of a data set, the smallest positive number where it is 0.

    Args:
        acceleration: True accelerations (dimensionless).
    """
    return max(float(np.median(np.abs(acceleration).sum(-1))), float(np.finfo(np.float32).tiny))


def weighing(loss: Loss, typical: float) -> tuple[float, float]:
    """Say how the errors of a cell are weighed.

    Args:
        loss: ``absolute``, ``scaled`` or ``relative``: each body weighs 1, 1/s or 1/(s + Σ_d |a_d|).
        typical: The size s, see ``typical_size`` (dimensionless).

    Returns:
        c and k of the weight 1/(c + k Σ_d |a_d|) (dimensionless).
    """
    match loss:
        case "absolute":
            return 1.0, 0.0
        case "scaled":
            return typical, 0.0
        case "relative":
            return typical, 1.0


def weights_of(
    true: Float[Tensor, "stack graph body dim"], weighings: Float[Tensor, "stack 2"]
) -> Float[Tensor, "stack graph body"]:
    """Return the weight of each body.

    Args:
        true: True accelerations.
        weighings: Of each cell how its errors are weighed, see ``weighing``.
    """
    constant, slope = weighings[:, :, None, None].unbind(1)
    return 1 / (constant + slope * true.abs().sum(-1))


def error_of(
    predicted: Float[Tensor, "stack graph body dim"],
    true: Float[Tensor, "stack graph body dim"],
    weights: Float[Tensor, "stack graph body"],
) -> Float[Tensor, "stack"]:
    """Return the prediction error of each cell: mean over bodies of w Σ_d |a_d - â_d|."""
    return ((predicted - true).abs().sum(-1) * weights).mean((1, 2))


def slope_of_error(
    predicted: Float[Tensor, "stack graph body dim"],
    true: Float[Tensor, "stack graph body dim"],
    weights: Float[Tensor, "stack graph body"],
) -> Float[Tensor, "stack graph body dim"]:
    """Return the gradient of ``error_of`` by the predicted accelerations."""
    return (predicted - true).sign_().mul_(weights[..., None]).div_(predicted.shape[1] * predicted.shape[2])
