"""What gives accelerations: a network, or a law that was found."""

from __future__ import annotations

import numpy as np
import torch

from distillery.generalise.rollout import Acceleration
from distillery.replace.law import Law
from distillery.train.network import Network
from distillery.verify.composed import HeldOut, through_nodes

# Graphs that a network is given at once: a gigabyte for 16 bodies and 300 units.
_AT_ONCE = 1024


def of_network(network: Network) -> Acceleration:
    """Return the accelerations that a trained network predicts.

    Args:
        network: A single network; any number of bodies will do.
    """

    def accelerations(graphs: HeldOut) -> np.ndarray:
        parts = [graphs.position, graphs.velocity, graphs.charge[..., None], graphs.mass[..., None]]
        nodes = torch.from_numpy(np.concatenate(parts, axis=-1).astype(np.float32))
        found = [network(part[None]).acceleration[0].detach().double().numpy() for part in torch.split(nodes, _AT_ONCE)]
        return np.concatenate(found)

    return accelerations


def of_law(law: Law) -> Acceleration:
    """Return the accelerations that a law gives.

    Args:
        law: Any law; infinite or undefined where its expressions are.
    """
    messages, nodes = law.filled(law.messages), law.filled(law.nodes)
    return lambda graphs: through_nodes(graphs, messages, nodes)
