"""Pruning: message components are shut off for good while training, those of least standard deviation first.

A penalty can be evaded by rescaling what the node function undoes; a component that is gone cannot. The number of
components falls along half a cosine from all to the last ones and is reached at ``Model.pruned_by`` of the training,
so that the network has the rest of it to learn with those.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distillery.networks.batches import WINDOW
from distillery.networks.network import Network


def kept_at(step: int, steps: int, all_of_them: int, last: int, until: float) -> int:
    """Return how many components are kept at a step.

    Args:
        step: From 0 on.
        steps: All steps.
        all_of_them: Components before pruning.
        last: Components that are left in the end.
        until: Share of the steps after which only those are left.
    """
    share = min(step / (until * steps), 1.0) if until > 0 else 1.0
    return last + math.ceil((all_of_them - last) * (1 + math.cos(math.pi * share)) / 2 - 1e-9)


@torch.no_grad()
def prune(network: Network, nodes: Tensor, step: int, steps: int) -> None:
    """Shut off the components that the schedule no longer keeps; does nothing for models that are not pruned.

    Args:
        network: The networks of a stack; changed in place.
        nodes: Position, velocity, charge, mass, ``[stack, graph, body, feature]``: where messages are compared.
        step: Steps done.
        steps: All steps.
    """
    shape = network.shape
    if network.alive is None:
        return
    model = shape.model
    # Pruning comes at the start of a window: the last one must find all of it done.
    until = min(model.pruned_by, (steps - 1) // WINDOW * WINDOW / steps)
    kept = kept_at(step, steps, shape.messages, model.kept_size(shape.dim), until)
    if kept >= int(network.alive[0].sum()):
        return
    # Components that are off come last and stay off.
    deviation = network.messages(nodes).float().std(1)
    best = deviation.masked_fill(network.alive[:, 0] == 0, -1.0).argsort(dim=1, descending=True)[:, :kept]
    network.alive.zero_().squeeze(1).scatter_(1, best, 1.0)
