"""What the Snakemake rules ask of the sweep: paths with wildcards, keys, inputs, and handlers.

Rules hold no logic; each line of theirs that depends on the sweep is a call into this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from distillery import files
from distillery.cell import (
    BATCH,
    BENCHMARK,
    CELL_PICTURE,
    EXPERIMENT_PICTURE,
    EXPERIMENT_WILDCARD,
    LOG,
    MARKER,
    MEMBER_WILDCARD,
    OUTCOME,
    PICTURES,
    STORE_MARKER,
    SWEEP_LOG,
    Cell,
    Experiment,
    Split,
    Stage,
)
from distillery.config import read_yaml
from distillery.errors import DistilleryError
from distillery.lock import note_holder
from distillery.sweep import Sweep, sweep_from

__all__ = [
    "BATCH",
    "BENCHMARK",
    "CELL_PICTURE",
    "EXPERIMENT_PICTURE",
    "EXPERIMENT_WILDCARD",
    "LOG",
    "MARKER",
    "MEMBER_WILDCARD",
    "OUTCOME",
    "STORE_MARKER",
    "SWEEP_LOG",
]

_T = TypeVar("_T")


class _Wildcards(dict[str, str]):
    """Leaves in a pattern what is not given: ``{experiment}`` stays ``{experiment}``."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def default_config(workflow_folder: str) -> str:
    """Return the configuration to use when none was given: the working directory's, else the checkout's.

    It is read here once already, because Snakemake does not say where a syntax error stands.
    """
    own = Path("config.yaml")
    chosen = own if own.exists() else Path(workflow_folder).parent / "config.yaml"
    _or_end(lambda: read_yaml(chosen))
    return str(chosen)


def open_sweep(content: Mapping[str, Any], sources: Sequence[Any]) -> Sweep:
    """Return the sweep of Snakemake's configuration, or end with one line that says what is wrong with it.

    The command ``distillery`` and the MPI launcher of this Python are put first on the path of all jobs.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    source = " + ".join(str(source) for source in sources) or "config.yaml"
    return _or_end(lambda: sweep_from(content, source))


def _or_end(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except DistilleryError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def path(sweep: Sweep, pattern: str, **values: str) -> str:
    """Return a path pattern under the results folder, with ``values`` filled in and other wildcards left."""
    return str(sweep.results / pattern.format_map(_Wildcards(values)))


def resolved_config(sweep: Sweep) -> str:
    """Return where the checked configuration of the running sweep is kept for its jobs."""
    return str(sweep.results / "config.yaml")


def begin(sweep: Sweep) -> None:
    """Refuse what cannot end well, then keep the checked configuration for the jobs, and note who runs.

    Raises:
        SystemExit: The engine cannot work here, or the disk is too small; the reason was printed.
    """
    from distillery.distill.engine import require
    from distillery.plan import require_room

    _or_end(lambda: require(sweep.config.distillation))
    _or_end(lambda: require_room(sweep))
    note_holder(Path.cwd())
    content = yaml.safe_dump(sweep.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    files.write_text(Path(resolved_config(sweep)), content)


def finish(sweep: Sweep) -> None:
    """Print the table of results at the end of a run, if the run made all of it."""
    marker = Path(path(sweep, STORE_MARKER))
    if marker.exists() and files.read_json(marker, "run distillery collect").get("key") == sweep.collect_key:
        _or_end(lambda: _print_table(sweep))


def gather(sweep: Sweep) -> None:
    """Collect what a broken run has finished, and print it: one bad cell costs one cell."""
    from distillery.collect.run import collect

    if sweep.results.exists():
        _or_end(lambda: collect(sweep))
        _or_end(lambda: _print_table(sweep))


def _print_table(sweep: Sweep) -> None:
    from distillery.collect.table import results_table

    sys.stdout.write(results_table(sweep.results) + "\n")
    sys.stdout.flush()


def pictures(sweep: Sweep) -> list[str]:
    """Return the pictures of all experiments and cells."""
    of_experiments = [experiment.picture(sweep.results) for experiment in sweep.experiments]
    of_cells = [cell.picture(sweep.results, name) for cell in sweep.cells for name in PICTURES]
    return [str(file) for file in of_experiments + of_cells]


def verified(sweep: Sweep) -> list[str]:
    """Return the last outcomes of all cells."""
    return [str(cell.outcome(sweep.results, "verify")) for cell in sweep.cells]


def data_key(sweep: Sweep, experiment: str, split: Split) -> str:
    """Return the key of an experiment's trajectories."""
    return sweep.data_key(Experiment.parse(experiment), split)


def cell_key(sweep: Sweep, stage: Stage, experiment: str, member: str) -> str:
    """Return the key of a cell's outcome."""
    return sweep.key(stage, Cell.parse(f"{experiment}/{member}"))


def batch_key(sweep: Sweep, experiment: str, batch: str) -> str:
    """Return the key of a distilling job."""
    return sweep.batch_key(Experiment.parse(experiment), int(batch))


def batch_inputs(sweep: Sweep, experiment: str, batch: str) -> list[str]:
    """Return the outcomes that a distilling job reads."""
    cells = sweep.batch(Experiment.parse(experiment), int(batch))
    return [str(cell.outcome(sweep.results, "interpret")) for cell in cells]


def batch_marker(sweep: Sweep, experiment: str, member: str) -> str:
    """Return the completion marker of the distilling job of a cell."""
    return str(sweep.batch_marker(Cell.parse(f"{experiment}/{member}")))
