r"""Distillery turns trajectories of interacting particles into laws.

The library in a notebook::

    import distillery as ds

    data = ds.simulate(ds.systems["spring"], dim=2, bodies=4, simulations=3000)
    train, test = data.split(last=0.2)
    network = ds.train(train, ds.models["bottleneck"], steps=14_000, seed=0)
    messages = ds.messages(network, train)
    front = ds.distill(messages, engine="operon")
    law = ds.fit_law(front, train)
    print(law, ds.validate(law, test), ds.compare(law, ds.systems["spring"]), sep="\n")

Packages, each of which imports only those before it: ``util``, ``data``, ``physics``, ``simulate``, ``networks``,
``messages``, ``symbolic``, ``laws``, ``validation``, ``halos``, ``results``, ``report``, ``cluster``, ``workflow``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# These packages share their names with functions below. Python sets the attribute of a package when it is imported
# first, so they are imported before the functions take the names; both are empty.
import distillery.messages
import distillery.simulate  # noqa: F401
from distillery.errors import DistilleryError

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from distillery.data.reading import read as read
    from distillery.data.trajectories import Trajectories as Trajectories
    from distillery.laws.fitted_law import FittedLaw as Law  # noqa: F401
    from distillery.laws.fitted_law import fit_law as fit_law
    from distillery.networks.models import MODELS as models  # noqa: F401
    from distillery.networks.trained import TrainedNetwork as Network
    from distillery.networks.trained import train as train
    from distillery.physics.systems import SYSTEMS as systems  # noqa: F401
    from distillery.physics.systems import System as System
    from distillery.results.store import Results as Results
    from distillery.results.store import open_results as open_results
    from distillery.symbolic.fronts import Fronts as Fronts
    from distillery.symbolic.fronts import distill as distill
    from distillery.validation.against_data import validate as validate
    from distillery.validation.against_law import compare as compare

__version__ = "0.1.0"

# Public name: module and name in it. Modules are imported at first use, so that the command line starts fast.
_FACE = {
    "Fronts": ("symbolic.fronts", "Fronts"),
    "Law": ("laws.fitted_law", "FittedLaw"),
    "Model": ("networks.models", "Model"),
    "Network": ("networks.trained", "TrainedNetwork"),
    "System": ("physics.systems", "System"),
    "Trajectories": ("data.trajectories", "Trajectories"),
    "compare": ("validation.against_law", "compare"),
    "distill": ("symbolic.fronts", "distill"),
    "fit_law": ("laws.fitted_law", "fit_law"),
    "models": ("networks.models", "MODELS"),
    "open_results": ("results.store", "open_results"),
    "read": ("data.reading", "read"),
    "systems": ("physics.systems", "SYSTEMS"),
    "train": ("networks.trained", "train"),
    "validate": ("validation.against_data", "validate"),
}
__all__ = ["DistilleryError", "messages", "simulate", *_FACE]  # noqa: PLE0604 (names of a dictionary)


def simulate(system: System, **options: Any) -> Trajectories:
    """Simulate a system from random initial conditions; see `distillery.simulate.simulations.simulate`."""
    from distillery.simulate.simulations import simulate as function

    return function(system, **options)


def messages(network: Network | Callable[..., Any], data: Trajectories, **options: Any) -> xr.Dataset:
    """Read the messages of a network on data; see `distillery.messages.dataset.messages`."""
    from distillery.messages.dataset import messages as function

    return function(network, data, **options)


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'distillery' has no attribute {name!r}")
    module, attribute = _FACE[name]
    value = getattr(importlib.import_module(f"distillery.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})
