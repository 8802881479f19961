"""State of each stage of a cell, read from its outcome file and its notes."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, Literal, get_args

from distillery import files
from distillery.cluster.slurm.queue import Queue
from distillery.errors import DistilleryError
from distillery.util.process import worker_from
from distillery.workflow.cell import SPLITS, STAGES, Cell, Experiment, Split, Stage
from distillery.workflow.liveness import is_alive
from distillery.workflow.outcome import Outcome, Status, attempts_of, notes
from distillery.workflow.sweep import Sweep

State = Literal["done", "diverged", "running", "queued", "interrupted", "failed", "stale", "missing"]
STATES: tuple[State, ...] = get_args(State)
_REMEDY = "delete it and run the sweep again"
_DECODER = json.JSONDecoder()
_WITHOUT_RESULT: dict[str, Any] = {"result": {}, "seconds": 0.0, "provenance": {}}


@dataclasses.dataclass(frozen=True)
class StageState:
    """State of one stage.

    Attributes:
        state: ``done``; ``diverged``; ``running``, or ``interrupted`` if its process has ended; ``queued`` if its job
            waits in Slurm's queue; ``failed``; ``stale`` if made with other settings; ``missing`` if it never ran or
            its files are missing.
        reason: Reason why it is not done, or the process that runs it.
        outcome: Its outcome, if there is one with the sweep's key.
        job: Its Slurm job, if it runs or waits in one.
        node: Node of its current or last process.
        since: Time of its start or failure, in seconds since the epoch.
        attempts: Number of known attempts.
        error: Error of the previous attempt.
        redraws: Number of initial conditions that were replaced; for trajectories only, if known.
    """

    state: State
    reason: str = ""
    outcome: Outcome | None = None
    job: str = ""
    node: str = ""
    since: float | None = None
    attempts: int = 0
    error: str = ""
    redraws: int | None = None


def cell_states(
    sweep: Sweep, cell: Cell, *, results: bool = True, queue: Queue | None = None
) -> dict[Stage, StageState]:
    """Return the state of every stage of a cell.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        results: Whether the results of its outcomes are read too; ten thousand cells take half the time without.
        queue: Slurm's queue, by which jobs on other nodes are checked; without it they count as alive.
    """
    names = _names(cell.folder(sweep.results))
    states: dict[Stage, StageState] = {}
    before: Path | None = None
    for stage in STAGES:
        path = cell.outcome(sweep.results, stage)
        state = StageState("missing")
        if path.name in names:
            state = _with_belongings(_outcome_state(path, sweep.key(stage, cell), results), names)
        if f"{stage}.running" in names or f"{stage}.failure" in names:
            state = _with_notes(state, path, before, queue)
        states[stage] = state
        before = path
    return states


def experiment_states(sweep: Sweep, experiment: Experiment, queue: Queue | None = None) -> dict[Split, StageState]:
    """Return the state of the trajectories of an experiment, by split.

    Args:
        sweep: The sweep.
        experiment: One of its experiments.
        queue: Slurm's queue, by which jobs on other nodes are checked; without it they count as alive.
    """
    states: dict[Split, StageState] = {}
    for split in SPLITS:
        path = experiment.marker(sweep.results, split)
        state = _marker_state(path, sweep.data_key(experiment, split)) if path.exists() else StageState("missing")
        store = experiment.store(sweep.results, split)
        if state.state == "done" and not store.is_dir():
            # The marker still gives the number of redraws, and finished trainings remain valid.
            state = dataclasses.replace(state, state="missing", reason=f"{store.name} is gone; run the sweep again")
        states[split] = _with_notes(state, path, None, queue)
    return states


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 (Path.iterdir builds a path per file: 10,000 cells are many)
    except OSError:
        return frozenset()


def _outcome_state(path: Path, key: str, results: bool) -> StageState:
    content, problem = _content(path, key, results)
    if problem is not None:
        return problem
    try:
        outcome = Outcome(**{**_WITHOUT_RESULT, **content} if not results else content)
    except TypeError:
        return StageState("failed", f"{path.name} was written by another version of distillery; {_REMEDY}")
    match outcome.status:
        case "ok":
            return StageState("done", "", outcome)
        case "diverged" | "failed":
            return StageState(outcome.status, str(outcome.reason) or "no reason was given", outcome)
    return StageState(
        "failed", f"{path.name} has the status {outcome.status!r}, not one of {', '.join(get_args(Status))}; {_REMEDY}"
    )


def _with_belongings(state: StageState, names: frozenset[str]) -> StageState:
    """Return ``missing`` if files of a stage do not exist; their checksums are not verified here."""
    belongings = state.outcome.files if state.outcome is not None else {}
    gone = next((name for name in belongings if name not in names), None) if isinstance(belongings, dict) else None
    return state if gone is None else StageState("missing", f"{gone} is gone; run the sweep again")


def _marker_state(path: Path, key: str) -> StageState:
    content, problem = _content(path, key, True)
    redraws = content.get("redraws")
    return problem or StageState("done", redraws=redraws if type(redraws) is int else None)


def _content(path: Path, key: str, results: bool) -> tuple[dict[str, Any], StageState | None]:
    try:
        content = (None if results else _head(path)) or files.read_json(path, _REMEDY)
    except DistilleryError as error:
        # The text must not depend on the place of the results folder.
        return {}, StageState("failed", str(error).replace(str(path), path.name))
    if not isinstance(content, dict) or "key" not in content:
        return {}, StageState("failed", f"{path.name} was written by another version of distillery; {_REMEDY}")
    if content["key"] != key:
        return {}, StageState("stale", "made with other settings; run the sweep again")
    return content, None


def _head(path: Path) -> dict[str, Any] | None:
    """Return the content of an outcome file without the result, or None if the file is not complete."""
    try:
        text = path.read_text(encoding="utf-8")
        head, found, rest = text.partition('"result"')
        _, also_found, tail = rest.rpartition('"files":')
        if not (found and also_found and text.endswith("}\n")):
            return None
        belongings, _ = _DECODER.raw_decode(tail.lstrip())
        return {**json.loads(head.rstrip().rstrip(",") + "}"), "files": belongings}
    except (OSError, ValueError):
        return None


def _with_notes(state: StageState, path: Path, before: Path | None, queue: Queue | None) -> StageState:
    """Return a state that takes into account the notes of a running or failed attempt.

    A failure older than the outcome of the stage ``before`` is ignored: the stage has not run on it yet.
    """
    running, failure = (_note(note) for note in notes(path))
    error = str(failure.get("reason", "no reason was given")) if failure is not None else ""
    if running is not None:
        found, alive = _process(running, error, queue)
        if alive:
            return dataclasses.replace(found, outcome=state.outcome)
        if state.outcome is None and state.state != "done":
            return found
    if failure is None or state.state == "done" or _older(failure, before):
        return state
    if state.outcome is not None:
        return dataclasses.replace(state, attempts=attempts_of(failure), error=error)
    return StageState("failed", error, attempts=attempts_of(failure), error=error, since=_since(failure, "when"))


def _older(note: dict[str, Any], outcome: Path | None) -> bool:
    when = note.get("when")
    try:
        return outcome is not None and isinstance(when, (int, float)) and when < outcome.stat().st_mtime
    except OSError:
        return False


def _note(path: Path) -> dict[str, Any] | None:
    try:
        content = files.read_json(path, _REMEDY)
    except DistilleryError:
        return None
    return content if isinstance(content, dict) else None


def _process(note: dict[str, Any], error: str, queue: Queue | None) -> tuple[StageState, bool]:
    """Return the state by a note of a running process, and whether that process counts as alive."""
    worker, since = worker_from(note), _since(note, "since")
    if worker is None or since is None:
        return StageState("interrupted", "its note is damaged"), False
    alive = is_alive(worker, queue.alive) if queue is not None else worker.alive()
    attempts, when = attempts_of(note), time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    text = f"began {when}, its {worker} is gone" if alive is False else f"{worker} since {when}"
    if alive is None:
        text += " (another host; not checked)"
    if attempts > 1:
        text += f", attempt {attempts}" + (f" (before: {error})" if error else "")
    found = StageState(
        "interrupted" if alive is False else "running",
        text,
        job=worker.job or "",
        node=worker.node or worker.host,
        since=since,
        attempts=attempts,
        error=error,
    )
    return found, alive is not False


def _since(note: dict[str, Any], name: str) -> float | None:
    when = note.get(name)
    return float(when) if isinstance(when, (int, float)) else None
