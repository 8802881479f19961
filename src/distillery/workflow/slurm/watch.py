"""Events of the jobs of a sweep on Slurm, recorded for ``distillery status`` and further attempts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from distillery.cluster.slurm.reasons import Lack
from distillery.workflow.cell import SPLITS, STAGES, Experiment
from distillery.workflow.outcome import note_failure
from distillery.workflow.slurm.growth import Growth
from distillery.workflow.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Watch:
    """Receives the executor's events for a sweep.

    Attributes:
        sweep: The sweep.
        growth: Counts the resources that jobs ran out of.
    """

    sweep: Sweep
    growth: Growth

    def refused(self, rule: str, wildcards: Mapping[str, str], reason: str) -> None:
        """Write the reason of Slurm's refusal next to the outcome of each cell of a job."""
        for path in _outcomes(self.sweep, rule, wildcards):
            with contextlib.suppress(OSError):
                note_failure(path, f"Slurm refused the job: {reason}")

    def lacked(self, rule: str, wildcards: Mapping[str, str], what: Lack) -> None:
        """Count that a job ran out of memory or time."""
        self.growth.lacked(rule, wildcards, what)


def _outcomes(sweep: Sweep, rule: str, wildcards: Mapping[str, str]) -> list[Path]:
    """Return the outcomes that a job makes, one for each of its cells; none for pictures and pages."""
    if rule == "simulate":
        experiment = Experiment.parse(wildcards["experiment"])
        return [experiment.marker(sweep.results, split) for split in SPLITS if split == wildcards["split"]]
    job = sweep.jobs.get(f"{wildcards.get('experiment')}/{wildcards.get('member')}")
    if job is None:
        return []
    return [cell.outcome(sweep.results, stage) for stage in STAGES if stage == rule for cell in job.cells]
