"""Predictors of accelerations: a network or a law."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from distillery.laws.composed import HeldOut, judge_acceleration, through_nodes
from distillery.laws.law import Law
from distillery.laws.motion import flaw_of_velocities, moved
from distillery.laws.rollout import Acceleration
from distillery.laws.settings import VerificationSettings
from distillery.networks.network import Network

# Graphs that a network is given at once: a gigabyte for 16 bodies and 300 units.
_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network, or a law.

    Attributes:
        acceleration: The accelerations that it gives.
        law: The law, where it is one.
    """

    acceleration: Acceleration
    law: Law | None = None

    def holds(self, graphs: HeldOut, found: np.ndarray, settings: VerificationSettings) -> bool:
        """Decide whether bodies move as it says: their accelerations, and the velocities of a Hamiltonian law.

        Args:
            graphs: Where.
            found: The accelerations that it gives there.
            settings: Limits.
        """
        flaw = flaw_of_velocities(self.law, graphs, settings) if self.law else ""
        return judge_acceleration(graphs, found, settings).recovered and not flaw


def of_network(network: Network) -> Predictor:
    """Return the accelerations that a trained network predicts.

    Args:
        network: A single network; any number of bodies will do.
    """

    def accelerations(graphs: HeldOut) -> np.ndarray:
        parts = [graphs.position, graphs.velocity, graphs.charge[..., None], graphs.mass[..., None]]
        nodes = torch.from_numpy(np.concatenate(parts, axis=-1).astype(np.float32))
        found = [network(part[None]).acceleration[0].detach().double().numpy() for part in torch.split(nodes, _AT_ONCE)]
        return np.concatenate(found)

    return Predictor(accelerations)


def of_law(law: Law) -> Predictor:
    """Return the accelerations that a law gives.

    Args:
        law: Any law; infinite or undefined where its expressions are.
    """
    messages, nodes = law.filled(law.messages), law.filled(moved(law))
    return Predictor(lambda graphs: through_nodes(graphs, messages, nodes), law)
