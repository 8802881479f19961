"""Status of a sweep: the state of every cell with its reason, and the process that runs the sweep."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.cluster.slurm.commands import Job
from distillery.cluster.slurm.queue import Queue, comment
from distillery.errors import DistilleryError
from distillery.results.reading import read_attributes
from distillery.results.swap import followed
from distillery.util.text import align, counted
from distillery.workflow import claim
from distillery.workflow.cell import LOG, SPLITS, STAGES, STORE, Cell, Experiment, Split, Stage
from distillery.workflow.config import load_config, parse_config
from distillery.workflow.state import STATES, StageState, State, cell_states, experiment_states
from distillery.workflow.sweep import RESOLVED, Sweep, as_run


@dataclasses.dataclass(frozen=True)
class SweepStatus:
    """Status of a sweep.

    Attributes:
        sweep: The sweep, with the jobs of its latest run.
        run: The process that runs it, or a note that its run was killed; empty if there is none.
        remark: Reason why jobs could not be checked; empty if they were.
        trajectories: States by experiment and split.
        cells: States by cell and stage.
    """

    sweep: Sweep
    run: str
    remark: str
    trajectories: dict[Experiment, dict[Split, StageState]]
    cells: dict[Cell, dict[Stage, StageState]]

    def cell_state(self, cell: Cell) -> State:
        """Return the state of a cell: that of its first stage that is not done, a running or waiting one first."""
        states = [state.state for state in self.cells[cell].values()]
        for active in ("running", "queued"):
            if active in states:
                return active
        return next((state for state in states if state != "done"), "done")

    @property
    def counts(self) -> dict[State, int]:
        """The number of cells in each state that occurs."""
        counted_states = Counter(self.cell_state(cell) for cell in self.cells)
        return {state: counted_states[state] for state in STATES if counted_states[state]}

    def log(self, subject: Cell | Experiment, part: str) -> Path:
        """Return the log of a stage of a cell, or of the simulation of a split."""
        if isinstance(subject, Cell):
            return self.sweep.job_of(subject).log(self.sweep.results, part)
        return self.sweep.results / LOG.format(experiment=subject, name=f"simulate-{part}")


def sweep_of(results: Path) -> Sweep:
    """Return the sweep of a results folder, which may have been moved or copied.

    Args:
        results: The folder.

    Raises:
        DistilleryError: It has neither the configuration of a run nor a result store.
    """
    path = results / RESOLVED
    if path.is_file():
        return Sweep(load_config(path), results)
    if not followed(results / STORE).exists():
        raise DistilleryError(f"{results}: is no results folder, it has neither {RESOLVED} nor {STORE}; give --config")
    return Sweep(parse_config(read_attributes(results)["config"], str(results / STORE)), results)


def status(sweep: Sweep, cells: Sequence[Cell] = ()) -> SweepStatus:
    """Return the status of a sweep; read small files only, and query Slurm once at most.

    Args:
        sweep: The sweep.
        cells: Cells to include; by default all.
    """
    sweep = as_run(sweep)
    found, run = _claim(sweep)
    owner = found.claim if found is not None else None
    queue = Queue(None if owner is None or owner.own else owner.user)
    trajectories = {experiment: experiment_states(sweep, experiment, queue) for experiment in sweep.experiments}
    states = {cell: cell_states(sweep, cell, results=bool(cells), queue=queue) for cell in cells or sweep.cells}
    # Only a run on Slurm has queued jobs.
    if owner is not None and owner.slurm and (jobs := queue.of_run(owner.slurm)):
        _mark_queued(sweep, jobs, trajectories, states)
    return SweepStatus(sweep, run, queue.problem, trajectories, states)


def _claim(sweep: Sweep) -> tuple[claim.Found | None, str]:
    try:
        found = claim.look(sweep.results)
    except DistilleryError as error:
        return None, str(error)
    if found is None:
        return None, ""
    if found.claim is None or not found.alive:
        return found, claim.refusal(sweep.results, found)
    return found, f"run by {found.claim}: {found.claim.command}"


def _mark_queued(
    sweep: Sweep,
    jobs: Mapping[str, Job],
    trajectories: dict[Experiment, dict[Split, StageState]],
    cells: dict[Cell, dict[Stage, StageState]],
) -> None:
    """Mark stages that have a job in the queue and have not begun."""
    for experiment, splits in trajectories.items():
        for split in SPLITS:
            splits[split] = _queued(splits[split], jobs, comment("simulate", str(experiment), split))
    for cell, stages in cells.items():
        job = str(sweep.job_of(cell))
        for stage in STAGES:
            if stages[stage].state != "done":
                stages[stage] = _queued(stages[stage], jobs, comment(stage, job))


def _queued(state: StageState, jobs: Mapping[str, Job], words: str) -> StageState:
    job = jobs.get(words)
    if job is None or state.state in ("done", "diverged", "running"):
        return state
    text = f"job {job.id} waits" if job.waits else f"job {job.id} on {job.nodes} has not come to it yet"
    if state.error:
        text += f" (before: {state.error})"
    return dataclasses.replace(state, state="queued", reason=text, job=job.id, node=job.nodes)


def status_text(found: SweepStatus, *, everything: bool = False, width: int | None = None) -> str:
    """Return a sweep's status as aligned text: its run and counts, then everything that is not done.

    Args:
        found: The status.
        everything: Whether finished cells are included.
        width: Characters per line; None for no limit.
    """
    counts = ", ".join(f"{count:,} {state}" for state, count in found.counts.items())
    blocks = ["\n".join([f"{counted(len(found.cells), 'cell')}: {counts}", *_heads(found)])]
    trajectories = [
        [str(experiment), split, state.state, _with_log(found, experiment, split, state)]
        for experiment, splits in found.trajectories.items()
        for split, state in splits.items()
        if everything or state.state != "done"
    ]
    if trajectories:
        blocks.append(align(("experiment", "trajectories", "state", "note"), trajectories, width=width))
    cells = [
        [str(cell), *(state.state for state in stages.values()), _note(found, cell)]
        for cell, stages in found.cells.items()
        if everything or found.cell_state(cell) != "done"
    ]
    if cells:
        blocks.append(align(("cell", *STAGES, "note"), cells, width=width))
    return "\n\n".join(blocks)


def cells_text(found: SweepStatus, *, width: int | None = None) -> str:
    """Return all details of some cells, stage by stage.

    Args:
        found: Their status.
        width: Characters per line; None for no limit.
    """
    heads = _heads(found)
    blocks = ["\n".join(heads)] if heads else []
    names = ("stage", "state", "attempts", "job", "node", "since", "note")
    for cell, stages in found.cells.items():
        rows = []
        for stage, state in stages.items():
            facts = _facts(found, cell, stage, state)
            when = datetime.datetime.fromisoformat(facts["since"]).astimezone() if facts["since"] else None
            since = f"{when:%Y-%m-%d %H:%M}" if when else ""
            note = state.reason or state.error
            note += ("; " if note else "") + f"log {facts['log']}" if facts["log"] else ""
            values = (state.state, facts["attempts"], facts["job"], facts["node"], since, note)
            rows.append([stage, *(str(value) if value else "–" for value in values)])
        blocks.append(f"{cell}: {found.cell_state(cell)}\n{align(names, rows, width=width)}")
    return "\n\n".join(blocks)


def status_json(found: SweepStatus) -> str:
    """Return a sweep's status as JSON: one line per experiment and cell, times in UTC."""

    def lines(subjects: dict[Any, dict[Any, StageState]], name: str, parts: str) -> str:
        rows = []
        for subject, states in subjects.items():
            row = {name: str(subject), parts: {part: _facts(found, subject, part, s) for part, s in states.items()}}
            if isinstance(subject, Cell):
                row = {name: row[name], "state": found.cell_state(subject), parts: row[parts]}
            rows.append(json.dumps(row, ensure_ascii=False))
        return "[" + ",".join(f"\n  {row}" for row in rows) + "\n ]"

    return (
        f'{{\n "run": {json.dumps(found.run or None)},\n "remark": {json.dumps(found.remark or None)},'
        f'\n "counts": {json.dumps(found.counts)},'
        f'\n "trajectories": {lines(found.trajectories, "experiment", "splits")},'
        f'\n "cells": {lines(found.cells, "cell", "stages")}\n}}'
    )


def _heads(found: SweepStatus) -> list[str]:
    remark = f"jobs on other nodes are not checked: {found.remark}" if found.remark else ""
    return [line for line in (found.run, remark) if line]


def _facts(found: SweepStatus, subject: Cell | Experiment, part: str, state: StageState) -> dict[str, Any]:
    """Return the details of a stage by name; those of a finished stage come from its outcome."""
    origin = state.outcome.provenance if state.outcome is not None and state.state != "running" else {}
    log = found.log(subject, part) if state.state != "missing" else None
    redraws = {"redraws": state.redraws} if isinstance(subject, Experiment) else {}
    return {
        "state": state.state,
        "reason": state.reason,
        "attempts": state.attempts or origin.get("attempts"),
        "job": state.job or None,
        "node": state.node or origin.get("host"),
        "since": _time(state.since) or origin.get("finished"),
        "error": state.error or None,
        "log": str(log) if log is not None else None,
        **redraws,
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _note(found: SweepStatus, cell: Cell) -> str:
    """Return the reason of the first stage that is not done, and the process of a running one."""
    notes: list[str] = []
    for stage, state in found.cells[cell].items():
        if state.reason and (state.state in ("running", "queued") or not notes):
            notes.append(f"{stage}: {_with_log(found, cell, stage, state)}")
        if state.state in ("diverged", "failed"):
            break
    return "; ".join(notes)


def _with_log(found: SweepStatus, subject: Cell | Experiment, part: str, state: StageState) -> str:
    if state.state not in ("running", "interrupted", "failed"):
        drawn = f"{counted(state.redraws, 'initial condition')} given up and drawn again" if state.redraws else ""
        return "; ".join(text for text in (state.reason, drawn) if text)
    log = found.log(subject, part)
    tries = f" after {state.attempts} attempts" if state.state == "failed" and state.attempts > 1 else ""
    return f"{state.reason}{tries}" + (f"; log {log}" if log.exists() else "")
