"""Isolation of started clusters from the user's Dask settings, which are meant for other clusters."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from distillery.errors import DistilleryError

_PREFIX = "DASK_"
# The network interface of workers in Slurm jobs belongs to the machine; see `worker.scheduler_host`.
_KEPT = "jobqueue.slurm.interface"


def load() -> None:
    """Import Dask; raise DistilleryError if the user's settings of it cannot be read."""
    try:
        import dask  # noqa: F401

        # Loads its defaults before any of them is overridden.
        import distributed  # noqa: F401
    except (ValueError, OSError, TypeError) as error:
        reason = str(error).splitlines()[0].removesuffix(", original error message:")
        raise DistilleryError(
            f"settings of Dask: {reason}; correct that file or variable, or remove it from "
            "DASK_CONFIG and ~/.config/dask"
        ) from None


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """Use Dask's own defaults in the block, here and in processes that are started in it."""
    import dask

    interface = dask.config.get(_KEPT, None)
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_PREFIX)}
    dask.config.refresh(paths=[], env={})
    try:
        with dask.config.set({_KEPT: interface}):
            yield
    finally:
        os.environ.update(hidden)
        dask.config.refresh()
