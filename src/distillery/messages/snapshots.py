"""Messages while a network was trained: each frame is read as the messages of the trained network are.

The components are those of the end, along the same axes; only the gauge is each frame's own, for it is what the
receivers of that moment add. So the last frame says what the trained network says, and what was different before is
the network, not the reading.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file

from distillery.errors import DistilleryError
from distillery.messages.fits import fit_components
from distillery.messages.gauge import Reading, with_gauge
from distillery.messages.reading import Edges
from distillery.networks.network import Network
from distillery.networks.snapshots import STEPS
from distillery.workflow.cell import Cell
from distillery.workflow.sweep import Sweep

# So many held-out edges are drawn, and so many are measured.
_DRAWN, _MEASURED = 200, 1000


def read_frames(
    sweep: Sweep, cell: Cell, network: Network, reading: Reading, edges: Edges
) -> tuple[dict[str, Any], Float[np.ndarray, "frame sample component"]]:
    """Read the frames of a cell's training.

    Args:
        sweep: The plan.
        cell: A cell that was filmed.
        network: Its trained network.
        reading: How the components that are distilled are read of that.
        edges: Held-out edges, the first of which are those of the samples.

    Returns:
        The steps of the frames and how well each is a linear combination of force or acceleration, and the components
        on the first held-out samples.

    Raises:
        DistilleryError: The frames are missing, damaged or of another shape.
    """
    settings, model = sweep.config.interpretation, sweep.model(cell)
    measured = edges.first(_MEASURED)
    force = sweep.system(cell.experiment).pair_force(
        measured.displacement,
        (measured.mass[:, 0], measured.mass[:, 1]),
        (measured.charge[:, 0], measured.charge[:, 1]),
    )
    steps, fits, drawn = [], [], []
    for step, frame in networks(sweep, cell, network):
        own = with_gauge(frame, reading.axes, edges.first(settings.samples), model, settings)
        components = own.along(frame, measured)
        steps.append(step)
        fits.append(fit_components(components, force, measured.mass[:, 0], settings))
        drawn.append(components[: min(_DRAWN, sweep.config.distillation.held_out)].astype(np.float32))
    return {"steps": steps, "fits": fits}, np.stack(drawn)


def networks(sweep: Sweep, cell: Cell, network: Network) -> Iterator[tuple[int, Network]]:
    """Yield the steps after which frames were taken, and the network with the edge function that it had then.

    It is one network, changed from frame to frame.

    Args:
        sweep: The plan.
        cell: A cell that was filmed.
        network: Its trained network.

    Raises:
        DistilleryError: The frames are missing, damaged or of another shape.
    """
    path = cell.frames(sweep.results)
    one = copy.deepcopy(network)
    try:
        stored = load_file(path)
        for number, step in enumerate(stored.pop(STEPS).tolist()):
            frame = {name: tensor[number][None] for name, tensor in stored.items()}
            one.load_state_dict({**network.state_dict(), **frame})
            yield step, one
    except (OSError, SafetensorError, RuntimeError, KeyError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistilleryError(f"{path}: cannot be loaded ({reason}); delete the folder {path.parent}") from None
