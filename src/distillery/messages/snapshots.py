"""Messages during training: each snapshot is read as the messages of the trained network are.

Components are taken along the axes of the trained network. Only the gauge is measured for each snapshot, because it is
a property of the node function of that moment. Differences between snapshots are therefore changes of the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from distillery.messages.fits import fit_components
from distillery.messages.gauge import Reading, with_gauge
from distillery.messages.interpretation import Interpretation, no_fits
from distillery.messages.reading import Edges
from distillery.networks.network import Network

# Numbers of held-out edges that are kept for pictures, and that are fitted.
_DRAWN, _MEASURED = 200, 1000


def read_snapshots(
    wanted: Interpretation, snapshots: Iterable[tuple[int, Network]], reading: Reading, edges: Edges
) -> tuple[dict[str, Any], Float[np.ndarray, "frame sample component"]]:
    """Read the messages of snapshots of a training.

    Args:
        wanted: How the network is interpreted.
        snapshots: Step and network of each snapshot.
        reading: How components of the trained network are read.
        edges: Held-out edges, the first of which are those of the samples.

    Returns:
        The steps and fits of the snapshots, and the components on the first held-out samples.
    """
    settings = wanted.settings
    measured = edges.first(_MEASURED)
    force = wanted.force(measured) if wanted.force else None
    steps, fits, drawn = [], [], []
    for step, network in snapshots:
        own = with_gauge(network, reading.axes, edges.first(settings.samples), wanted.model, settings)
        components = own.along(network, measured)
        steps.append(step)
        fits.append(
            no_fits(components.shape[1])
            if force is None
            else fit_components(components, force, measured.mass[:, 0], settings)
        )
        drawn.append(components[: min(_DRAWN, wanted.held_out)].astype(np.float32))
    return {"steps": steps, "fits": fits}, np.stack(drawn)
