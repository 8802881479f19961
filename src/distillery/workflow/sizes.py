"""Memory and time of the largest jobs of a sweep, by which a sweep is refused before work starts."""

from __future__ import annotations

from collections.abc import Iterator

from distillery.symbolic.settings import OperonSettings
from distillery.workflow.config import Config
from distillery.workflow.sources.size import Size, default, size_of
from distillery.workflow.sweep import Sweep

# MB of a Dask worker that has loaded the libraries of a fit.
_WORKER = 250.0
# Bytes of an individual of an engine, per node of its expression, parents and offspring together.
_NODE = 130.0


def sizes(sweep: Sweep) -> Iterator[Size]:
    """Yield memory and time of the largest jobs of a sweep."""
    yield from _engines(sweep.config)
    for source in sweep.sources:
        yield from source.sizes()


def _engines(config: Config) -> Iterator[Size]:
    settings, dask = config.distillation, config.execution.dask
    operon = settings.operon
    drivers = {
        "distillation.operon.population": (operon.population, default(OperonSettings, "population")),
        "distillation.operon.max_length": (operon.max_length, default(OperonSettings, "max_length")),
    }
    if "operon" in settings.engines:
        yield size_of("a fit by operon", drivers, _WORKER + 1e-6 * _NODE * operon.population * operon.max_length)
    if dask.cluster == "local":
        workers = {"execution.dask.workers": (dask.workers, 2.0)}
        yield size_of("distilling with all its workers", workers, 2 * _WORKER * dask.workers)
