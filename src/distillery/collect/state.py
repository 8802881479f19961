"""Where a stage of a cell stands, read from its outcome and the notes beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from distillery import files
from distillery.cell import SPLITS, STAGES, Cell, Experiment, Split, Stage
from distillery.errors import DistilleryError
from distillery.outcome import Outcome, Status, notes
from distillery.sweep import Sweep

State = Literal["done", "diverged", "running", "interrupted", "failed", "stale", "missing"]
STATES: tuple[State, ...] = get_args(State)
_REMEDY = "delete it and run the sweep again"
_WITHOUT_RESULT: dict[str, Any] = {"result": {}, "seconds": 0.0, "provenance": {}}


@dataclasses.dataclass(frozen=True)
class StageState:
    """How far a stage is.

    Attributes:
        state: ``done``; ``diverged``; ``running``, or ``interrupted`` when its process is gone; ``failed``;
            ``stale`` when made with other settings; ``missing`` when it never ran or its files are gone.
        reason: Why it is not done, or where it runs.
        outcome: Its outcome, where there is one that answers to the sweep's key.
    """

    state: State
    reason: str = ""
    outcome: Outcome | None = None


def cell_states(sweep: Sweep, cell: Cell, *, results: bool = True) -> dict[Stage, StageState]:
    """Return where every stage of a cell stands.

    Args:
        sweep: The sweep.
        cell: One of its cells.
        results: Whether the results of its outcomes are read too; without, ten thousand cells take
            half the time.
    """
    names = _names(cell.folder(sweep.results))
    states: dict[Stage, StageState] = {}
    before: Path | None = None
    for stage in STAGES:
        path = cell.outcome(sweep.results, stage)
        state = StageState("missing")
        if path.name in names:
            state = _with_belongings(_outcome_state(path, sweep.key(stage, cell), results), names)
        if any(note.name in names for note in notes(path)):
            state = _with_notes(state, path, before)
        states[stage] = state
        before = path
    return states


def experiment_states(sweep: Sweep, experiment: Experiment) -> dict[Split, StageState]:
    """Return where the trajectories of an experiment stand."""
    states: dict[Split, StageState] = {}
    for split in SPLITS:
        path = experiment.marker(sweep.results, split)
        state = _marker_state(path, sweep.data_key(experiment, split)) if path.exists() else StageState("missing")
        store = experiment.store(sweep.results, split)
        if state.state == "done" and not store.is_dir():
            state = StageState("missing", f"{store.name} is gone; run the sweep again")
        states[split] = _with_notes(state, path)
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
    """Take a stage whose files are gone for one that never ran; whether they are whole is not looked at here."""
    belongings = state.outcome.files if state.outcome is not None else {}
    gone = next((name for name in belongings if name not in names), None) if isinstance(belongings, dict) else None
    return state if gone is None else StageState("missing", f"{gone} is gone; run the sweep again")


def _marker_state(path: Path, key: str) -> StageState:
    _, problem = _content(path, key, True)
    return problem or StageState("done")


def _content(path: Path, key: str, results: bool) -> tuple[dict[str, Any], StageState | None]:
    try:
        content = (None if results else _head(path)) or files.read_json(path, _REMEDY)
    except DistilleryError as error:
        # The same outcome gives the same text wherever the results folder stands.
        return {}, StageState("failed", str(error).replace(str(path), path.name))
    if not isinstance(content, dict) or "key" not in content:
        return {}, StageState("failed", f"{path.name} was written by another version of distillery; {_REMEDY}")
    if content["key"] != key:
        return {}, StageState("stale", "made with other settings; run the sweep again")
    return content, None


def _head(path: Path) -> dict[str, Any] | None:
    """Return what a whole outcome file holds beside the result, or None where that is not plain to see."""
    try:
        text = path.read_text(encoding="utf-8")
        head, found, rest = text.partition('"result"')
        _, also_found, tail = rest.rpartition('"files":')
        if not (found and also_found and text.endswith("}\n")):
            return None
        belongings, _ = json.JSONDecoder().raw_decode(tail.lstrip())
        return {**json.loads(head.rstrip().rstrip(",") + "}"), "files": belongings}
    except (OSError, ValueError):
        return None


def _with_notes(state: StageState, path: Path, before: Path | None = None) -> StageState:
    """Let the notes of a running or broken stage speak, where its outcome does not settle the matter.

    A failure older than the outcome of the stage ``before`` says nothing: the stage has not run on it yet.
    """
    running, failure = notes(path)
    note = _note(running)
    alive, where = (None, "") if note is None else _process(note)
    if note is not None and alive is not False:
        return dataclasses.replace(state, state="running", reason=where)
    if state.outcome is not None or state.state == "done":
        return state
    if note is not None:
        return StageState("interrupted", where)
    broken = _note(failure)
    if broken is not None and not _older(broken, before):
        return StageState("failed", str(broken.get("reason", "no reason was given")))
    return state


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


def _process(note: dict[str, Any]) -> tuple[bool | None, str]:
    """Return whether the process of a note lives (None: it is on another host) and where it is."""
    host, pid, since = note.get("host"), note.get("pid"), note.get("since")
    if not isinstance(pid, int) or not isinstance(since, (int, float)):
        return False, "its note is damaged"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    job = f", job {note['job']}" if note.get("job") else ""
    if host != platform.node():
        return None, f"on {host}{job} since {when} (another host; not checked)"
    try:
        # A process that began after the note was written only inherited the number.
        alive = psutil.Process(pid).create_time() <= since + 1.0
    except psutil.Error:
        alive = False
    text = f"on this host (process {pid}{job}) since {when}"
    return alive, text if alive else f"began {when}, its process {pid} is gone"
