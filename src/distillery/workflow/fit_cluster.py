"""The Dask cluster of a sweep's fits, with the workers that its configuration requests."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillery.cluster.dask.cluster import Cluster, start_cluster
from distillery.cluster.dask.worker import Workers
from distillery.workflow.claim import worker_jobs
from distillery.workflow.config import Config
from distillery.workflow.resources import worker_mb


@contextlib.contextmanager
def cluster(config: Config, tasks: int, logs: Path, label: str = "", **internal: Any) -> Iterator[Cluster]:
    """Start the configured cluster, or connect to it; a started cluster lives as long as the block.

    Args:
        config: The configuration; ``execution.dask`` selects the cluster.
        tasks: Number of fits; no more workers are started than that.
        logs: Folder of the output of workers on other nodes; kept after an error.
        label: Subject of the fits, a part of the names of worker jobs.
        **internal: Other values of ``Workers.interval`` and ``Workers.death_seconds`` for tests.

    Yields:
        The cluster.

    Raises:
        DistilleryError: It cannot be started or reached; the message names the setting to change.
    """
    with start_cluster(config.execution.dask, workers_of(config, tasks, logs, label, **internal), tasks) as started:
        yield started


def workers_of(config: Config, tasks: int, logs: Path, label: str, **internal: Any) -> Workers:
    """Return the workers that a configuration requests; the arguments are those of ``cluster``."""
    dask = config.execution.dask
    word = re.sub(r"[^A-Za-z0-9.+-]+", "-", label).strip("-")[:60]
    return Workers(
        count=max(min(dask.workers, tasks), 1),
        cores=dask.cores,
        memory_mb=worker_mb(config),
        minutes=dask.walltime_minutes,
        name=f"{worker_jobs()}-{word}-{uuid.uuid4().hex[:8]}",
        logs=logs.resolve(),
        **internal,
    )
