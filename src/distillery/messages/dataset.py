"""Messages of a network as one dataset: aligned, their gauge fixed, with the inputs of every function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.messages.fits import DISTILLED
from distillery.messages.interpretation import Interpretation, known_force, read_messages, sampled_edges, samples_of
from distillery.messages.own_function import OwnMessages
from distillery.messages.settings import InterpretationSettings
from distillery.networks.batches import graphs_of
from distillery.networks.functions import AXES, feature_names, node_names
from distillery.networks.models import MODELS
from distillery.networks.network import Network
from distillery.networks.trained import TrainedNetwork
from distillery.physics.systems import System

if TYPE_CHECKING:
    import xarray as xr

# Share of the data on which errors of expressions are measured.
_HELD_OUT = 0.2


@torch.no_grad()
def messages(
    network: TrainedNetwork | Callable[..., Any],
    data: Trajectories,
    *,
    system: System | None = None,
    samples: int = 5000,
    held_out: int = 5000,
    position: bool = False,
    seed: int | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Read the messages of a network on data: turned to the axes of space, with the gauge of receivers fixed.

    Args:
        network: A trained network; or a PyTorch module or function of your own that maps receivers and senders, each
            (edge, feature) with position, velocity, charge and mass, to messages (edge, component).
        data: Trajectories; the last fifth is held out to measure errors of expressions.
        system: A system with a known law, to which messages are compared (``r2`` of the dataset).
        samples: Number of training samples of each function.
        held_out: Number of held-out samples.
        position: Whether the node function may depend on the position.
        seed: Seed of the samples; that of the training by default.
        **settings: Fields of `InterpretationSettings`, such as ``reading="principal"``.

    Returns:
        ``message`` (sample, component) with ``features`` (sample, feature), ``node_target`` (node, axis) with
        ``node_features`` (node, node_feature), and ``held_out``/``node_held_out``; all in the units of the data.

    Raises:
        DistilleryError: Messages are not finite, or a setting is not valid.
    """
    import xarray as xr

    own = isinstance(network, TrainedNetwork)
    model = network.model if isinstance(network, TrainedNetwork) else MODELS["standard"]
    inner: Network = network.network if isinstance(network, TrainedNetwork) else OwnMessages(network, data.graph)
    if not own and not callable(network):
        raise DistilleryError("messages: give a trained network, a PyTorch module or a function")
    seen, test = (graphs_of(part) for part in data.split(last=_HELD_OUT))
    chosen = InterpretationSettings(**settings)
    wanted = Interpretation(
        model=model,
        settings=chosen,
        samples=samples,
        held_out=held_out,
        seed=seed if seed is not None else network.seed if isinstance(network, TrainedNetwork) else 0,
        place=position,
        force=known_force(system) if system is not None else None,
    )
    edges = sampled_edges(wanted, data.graph, seen, test)
    found, reading = read_messages(wanted, inner, test, edges[1])
    arrays = samples_of(wanted, inner, reading, edges, (seen, test))
    hamiltonian = model.kind == "hamiltonian"
    target = arrays["energy" if hamiltonian else "message"]
    delta = arrays["displacement"]
    features = np.column_stack([delta, np.linalg.norm(delta, axis=1), arrays["mass"], arrays["charge"]])
    names, nodes = feature_names(data.dim), node_names(model, data.dim, place=position)
    if not hamiltonian and target.shape[1] < data.dim:
        nodes = (*(f"s{k + 1}" for k in range(target.shape[1])), *nodes[data.dim :])
    dataset = xr.Dataset(
        {
            "message": (("sample", "component"), target),
            "features": (("sample", "feature"), features),
            "held_out": (("sample",), arrays["held_out"]),
            "node_target": (("node", "axis"), arrays["node_target"]),
            "node_features": (("node", "node_feature"), arrays["node_features"]),
            "node_held_out": (("node",), arrays["node_held_out"]),
            "significance": (("sent",), np.asarray(found["significance"])),
        },
        coords={"feature": list(names), "node_feature": list(nodes)},
        attrs={
            "kind": model.kind,
            "dim": data.dim,
            "reading": found["reading"],
            "test_mae": float(found["test_mae"]),
            "test_medae": float(found["test_medae"]),
            "label_std": float(found["label_std"]),
        },
    )
    if not hamiltonian:
        dataset = dataset.assign_coords(axis=list(AXES[: data.dim]))
    if system is not None:
        robust = found["fits"][DISTILLED]["force"]["r2_gauge_free"]
        dataset["r2"] = (("component",), np.array(robust, dtype=np.float64))
    return dataset
