"""Messages of a user's own PyTorch module or function in place of a network of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distillery.errors import DistilleryError
from distillery.networks.network import Network, Prediction


class OwnMessages(Network):
    """A message function of the user, called as networks are; it predicts no accelerations.

    A PyTorch module gets and returns tensors, a plain function NumPy arrays: receivers and senders, each
    (edge, feature) with position, velocity, charge and mass, to messages (edge, component) or (edge,).
    """

    predicts = False

    def __init__(self, function: Callable[..., Any], graph: str):
        """Take the function.

        Args:
            function: The message function.
            graph: The kind of graph on which messages are summed.
        """
        super().__init__()
        self._function = function
        self.graph = graph

    def message_of(
        self, receivers: Float[Tensor, "stack edge feature"], senders: Float[Tensor, "stack edge feature"]
    ) -> Float[Tensor, "stack edge message"]:
        """Return the messages between pairs of nodes.

        Raises:
            DistilleryError: The function returns another number of messages than it was given edges.
        """
        if isinstance(self._function, nn.Module):
            found = self._function(receivers[0], senders[0])
        else:
            found = self._function(receivers[0].numpy(), senders[0].numpy())
        sent = torch.as_tensor(np.asarray(found) if not isinstance(found, Tensor) else found)
        sent = sent[:, None] if sent.ndim == 1 else sent
        if sent.ndim != 2 or len(sent) != receivers.shape[1]:
            raise DistilleryError(
                f"messages: the function returned shape {tuple(sent.shape)} for {receivers.shape[1]} edges; "
                "return one row per edge"
            )
        return sent.detach().float()[None]

    def forward(self, nodes: Float[Tensor, "stack graph body feature"]) -> Prediction:
        """Refuse to predict."""
        raise DistilleryError("messages: a message function alone predicts no accelerations")
