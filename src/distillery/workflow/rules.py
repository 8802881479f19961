"""What the Snakemake rules ask of the sweep: paths with wildcards, keys, inputs, and handlers.

Rules hold no logic; each line of theirs that depends on the sweep is a call into this module.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from snakemake.cli import get_argument_parser  # type: ignore[import-untyped]

from distillery import files
from distillery.errors import DistilleryError, explain_system, no_room
from distillery.util.environment import import_from_no_working_directory
from distillery.util.yaml_file import read_text, read_yaml
from distillery.workflow import claim, earlier, outcome, resources
from distillery.workflow.cell import (
    BENCHMARK,
    CELL_PICTURE,
    EXPERIMENT_PICTURE,
    EXPERIMENT_WILDCARD,
    LOG,
    MARKER,
    MEMBER_WILDCARD,
    OUTCOME,
    PICTURES,
    REPORT_HTML,
    REPORT_LOG,
    REPORT_MARKDOWN,
    STAGES,
    STORE_MARKER,
    SWEEP_LOG,
    Experiment,
    Split,
    Stage,
)
from distillery.workflow.reopen import is_stale
from distillery.workflow.resources import Need
from distillery.workflow.slurm.growth import Growth
from distillery.workflow.sweep import RESOLVED, Sweep, sweep_from, write_resolved
from distillery.workflow.termination import end_on_sigterm

__all__ = [
    "BENCHMARK",
    "CELL_PICTURE",
    "EXPERIMENT_PICTURE",
    "EXPERIMENT_WILDCARD",
    "LOG",
    "MARKER",
    "MEMBER_WILDCARD",
    "OUTCOME",
    "REPORT_HTML",
    "REPORT_LOG",
    "REPORT_MARKDOWN",
    "STORE_MARKER",
    "SWEEP_LOG",
]

_T = TypeVar("_T")
# What jobs on Slurm ran out of, and the most that they may ask for.
_growth = Growth()
# Options with which Snakemake answers a question and leaves results alone, as its parser names them.
_QUESTIONS = (
    *("lint", "list_rules", "list_target_rules", "print_compilation"),
    *("dag", "rulegraph", "filegraph", "d3dag", "summary", "detailed_summary"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
    *("report", "reporter", "containerize", "generate_unit_tests", "archive"),
    *("conda_create_envs_only", "list_conda_envs", "conda_cleanup_envs"),
)


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


def open_sweep(snakemake: Any) -> Sweep:
    """Return the sweep of Snakemake's configuration, or end with one line that says what is wrong.

    The command ``distillery`` and the MPI launcher of this Python are put first on the path of all jobs. A run
    claims the results folder here, before Snakemake plans or locks anything.

    Args:
        snakemake: Snakemake's object ``workflow``.
    """
    import_from_no_working_directory()
    end_on_sigterm()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Conda environments are given this package by their post-deploy scripts.
    os.environ["DISTILLERY_CHECKOUT"] = str(Path(snakemake.basedir).parent)
    sweep = _or_end(lambda: sweep_from(*configured(snakemake)))
    if is_run(snakemake, sys.argv[1:]):
        _or_end(lambda: claim.take(sweep.results))
        _watch_slurm(sweep)
    elif not snakemake.is_main_process:
        _or_end(lambda: files.require_claim(sweep.results))
    return sweep


def _watch_slurm(sweep: Sweep) -> None:
    """Let Snakemake use our Slurm executor, where the plugin for Slurm is installed."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        from distillery.workflow.slurm import executor
        from distillery.workflow.slurm.watch import Watch

        executor.install(Watch(sweep, _growth))


def is_run(snakemake: Any, words: Sequence[str]) -> bool:
    """Tell whether this Snakemake is going to work: not a job of another one, a dry run or a question.

    Args:
        snakemake: Snakemake's object ``workflow``.
        words: The command line; when the rules are read, Snakemake has not taken note of it all.
    """
    if not snakemake.is_main_process or snakemake.output_settings.dryrun:
        return False
    # Snakemake's own parser, because options may be shortened, joined (-lt) and have several names.
    parser = get_argument_parser()
    given, _ = parser.parse_known_args(list(words))
    if given.report_after_run:
        return True
    return not any(getattr(given, name, None) not in (None, False, parser.get_default(name)) for name in _QUESTIONS)


def configured(snakemake: Any) -> tuple[dict[str, Any], Callable[[str], str]]:
    """Return the configuration of a Snakemake, and the name of the file or option that gave a key of it.

    Snakemake has read the files and options too, but lets the last of equal keys win, reads numbers in files as
    YAML 1.1 does and those of options in yet another way.

    Args:
        snakemake: Snakemake's object ``workflow``.

    Raises:
        DistilleryError: A file or an option cannot be read.
    """
    layers = [(str(path), read_yaml(Path(path))) for path in snakemake.configfiles]
    # A profile's key config becomes this option, too.
    for entry in snakemake.config_settings.config_args or ():
        key, _, text = str(entry).partition("=")
        layers.append(("--config", {key: read_text(text, f"--config {key}")}))
    content: dict[str, Any] = {}
    for _, layer in layers:
        content = _merged(content, layer)

    def source(key: str) -> str:
        depths = [_depth(layer, key.split(".")) for _, layer in layers]
        deepest = max(depths)
        if deepest == 0:
            return " + ".join(dict.fromkeys(name for name, _ in layers))
        return next(layers[i][0] for i in reversed(range(len(layers))) if depths[i] == deepest)

    return content, source


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        result[key] = _merged(lower, value) if isinstance(value, Mapping) and isinstance(lower, Mapping) else value
    return result


def _depth(layer: Any, parts: Sequence[str]) -> int:
    """Return how many parts of a key lead into the content of a file or option."""
    if not parts:
        return 0
    if isinstance(layer, Mapping) and parts[0] in layer:
        return 1 + _depth(layer[parts[0]], parts[1:])
    if isinstance(layer, list) and parts[0].isdigit() and int(parts[0]) < len(layer):
        return 1 + _depth(layer[int(parts[0])], parts[1:])
    return 0


def _or_end(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except DistilleryError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    except Exception as error:
        if not isinstance(error, OSError) and not no_room(error):
            raise
        sys.stderr.write(f"{explain_system(error)}\n")
        raise SystemExit(1) from None


def path(sweep: Sweep, pattern: str, **values: str) -> str:
    """Return a path pattern under the results folder, with ``values`` filled in and other wildcards left."""
    return str(sweep.results / pattern.format_map(_Wildcards(values)))


def folder(path: str) -> str:
    """Return the folder in which a file stands."""
    return str(Path(path).parent)


def resolved_config(sweep: Sweep) -> str:
    """Return where the checked configuration of the running sweep is kept for its jobs."""
    return str(sweep.results / RESOLVED)


def begin(sweep: Sweep, snakemake: Any) -> None:
    """Refuse what cannot end well, then keep the checked configuration for the jobs, and note how they are named.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.

    Raises:
        SystemExit: The engine cannot work here, or the disk is too small; the reason was printed.
    """
    from distillery.workflow.plan import require_room, warnings_of
    from distillery.workflow.slurm.require import require_site

    _growth.limit(_or_end(lambda: require_site(snakemake)))
    on_slurm = getattr(getattr(snakemake, "executor_plugin", None), "name", "") == "slurm"
    _or_end(lambda: require_room(sweep, cluster=on_slurm))
    for line in warnings_of(sweep):
        sys.stderr.write(f"warning: {line}\n")
    # The Slurm executor gives all jobs of a run one name, by which `distillery resume` finds them.
    claim.begin(getattr(getattr(snakemake.scheduler, "_executor", None), "run_uuid", ""))
    _or_end(lambda: write_resolved(sweep))
    _keep(sweep, snakemake)


def _keep(sweep: Sweep, snakemake: Any) -> None:
    """Keep the outputs of all jobs that will run until their successors are whole, however this run ends."""
    # While the store passes for whole, Snakemake does not ask for what it was made from.
    store = path(sweep, STORE_MARKER)
    kept = []
    for job in snakemake.dag.needrun_jobs():
        # Snakemake leaves the working directory before this process ends.
        outputs = [Path(file).absolute() for file in job.output if file != store]
        kept += earlier.keep(outputs, forced=snakemake.dag.reason(job).forced)
    atexit.register(earlier.restore, kept, outcome.is_whole)


def finish(sweep: Sweep, snakemake: Any) -> None:
    """Print the table of results at the end of a run, if the run made all of it.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.

    Raises:
        SystemExit: Every cell failed.
    """
    marker = Path(path(sweep, STORE_MARKER))
    content = files.read_json(marker, "run distillery collect") if marker.exists() else {}
    if content.get("key") == sweep.collect_key:
        _or_end(lambda: _print_table(sweep))
        _name_remedy(sweep, content["counts"], snakemake)
        if set(content["counts"]) == {"failed"}:
            # Failures of cells do not stop Snakemake, which would report a sweep without any result as a success.
            raise SystemExit(1)


def gather(sweep: Sweep, snakemake: Any) -> None:
    """Collect what a broken run has finished, and print it: one bad cell costs one cell.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.
    """
    from distillery.workflow.stages.collect import collect

    if not (sweep.results / claim.NAME).exists():
        # The results folder is elsewhere now, and Snakemake has made empty logs in its place.
        files.remove_hollow(sweep.results)
    else:
        counts = _or_end(lambda: collect(sweep))
        _or_end(lambda: _print_table(sweep))
        _name_remedy(sweep, counts, snakemake)


def _name_remedy(sweep: Sweep, counts: Mapping[str, int], snakemake: Any) -> None:
    """Say in the last line of a run with failed cells how they are tried again.

    Args:
        sweep: The sweep.
        counts: The number of cells by status.
        snakemake: Snakemake's object ``workflow``.
    """
    open_cells = sum(count for status, count in counts.items() if status not in ("ok", "diverged"))
    if not open_cells:
        return
    given = [str(file) for file in snakemake.config_settings.configfiles]
    # Of several files put together only their sum is one that the commands take.
    config = [str(Path(resolved_config(sweep)).absolute())] if len(given) > 1 else given
    option = shlex.join(["--config", *config]) if config else ""
    status, resume = (f"distillery {command} {option}".strip() for command in ("status", "resume"))
    total = sum(counts.values())
    which = (
        f"every cell failed ({_a_failure(sweep)})"
        if counts.get("failed") == total
        else f"{open_cells} of {total} cells are not done"
    )
    line = (
        f"{which}. `{status}` says why; when that is mended, run "
        f"`{resume}`, which lets failed cells be tried again, and start the sweep again.\n"
    )
    # Snakemake has more to say after its handlers.
    atexit.register(sys.stderr.write, line)


def _a_failure(sweep: Sweep) -> str:
    """Return the reason of the first stage that failed, in the first cell with one."""
    from distillery.workflow.state import cell_states

    states = (state for cell in sweep.cells for state in cell_states(sweep, cell, results=False).values())
    return next((state.reason for state in states if state.state == "failed"), "no reason is known")


def _print_table(sweep: Sweep) -> None:
    from distillery.results.table import results_table

    sys.stdout.write(results_table(sweep.results) + "\n")
    sys.stdout.flush()


def pictures(sweep: Sweep) -> list[str]:
    """Return the pictures of all experiments and jobs."""
    of_experiments = [experiment.picture(sweep.results) for experiment in sweep.experiments]
    of_jobs = [job.picture(sweep.results, name) for job in sweep.jobs.values() for name in PICTURES]
    return [str(file) for file in of_experiments + of_jobs]


def category(sweep: Sweep, experiment: str) -> str:
    """Return under which heading of Snakemake's report the picture of an experiment stands."""
    return sweep.source(Experiment.parse(experiment)).heading


def ended(sweep: Sweep) -> list[str]:
    """Return the last outcomes of all jobs."""
    return [str(job.outcome(sweep.results, STAGES[-1])) for job in sweep.jobs.values()]


def data_key(sweep: Sweep, experiment: str, split: Split) -> str:
    """Return the key of an experiment's trajectories."""
    return sweep.data_key(Experiment.parse(experiment), split)


def force_stale(
    sweep: Sweep, snakemake: Any, rule: str, experiment: str = "", member: str = "", split: Split = "train"
) -> list[str]:
    """Make Snakemake run a job whose outcome is there, but was made with other settings or is damaged.

    It is called for each job that Snakemake considers, while it decides which of them run, so it also holds for dry
    runs, single targets and parts of the workflow. The outcome stays where it is.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.
        rule: The job's rule: ``simulate``, a stage, or ``collect``.
        experiment: Wildcard of the job.
        member: Wildcard of the job.
        split: Wildcard of the job.

    Returns:
        No file: it stands among a rule's inputs.
    """
    if not snakemake.is_main_process:
        return []
    if rule == "collect":
        file = sweep.results / STORE_MARKER
        stale = outcome.key_of(file) not in (None, sweep.collect_key)
    elif rule == "simulate":
        data = Experiment.parse(experiment)
        file = data.marker(sweep.results, split)
        stale = outcome.key_of(file) not in (None, sweep.data_key(data, split))
    else:
        stage, job = cast("Stage", rule), sweep.find_job(f"{experiment}/{member}")
        file = job.outcome(sweep.results, stage)
        stale = is_stale(sweep, stage, job)
    if stale:
        snakemake.dag.forcefiles.add(str(file))
    return []


def job_key(sweep: Sweep, stage: Stage, experiment: str, member: str) -> str:
    """Return the key of a stage of a job."""
    return sweep.job_key(stage, sweep.find_job(f"{experiment}/{member}"))


def need(sweep: Sweep, stage: str, experiment: str = "", member: str = "", split: Split = "train") -> Need:
    """Return what a job of a rule needs.

    Args:
        sweep: The sweep.
        stage: The rule's stage.
        experiment: Wildcard of the job.
        member: Wildcard of the job.
        split: Wildcard of the job.
    """
    if stage == "collect":
        return resources.collect(sweep)
    if stage == "report":
        return resources.report(sweep)
    if stage == "simulate":
        return resources.simulate(sweep, Experiment.parse(experiment), split)
    if not member:
        return resources.picture(sweep, Experiment.parse(experiment))
    of_job = {
        "train": resources.train,
        "interpret": resources.interpret,
        "distill": resources.distill,
        "verify": resources.verify,
        "replace": resources.replace,
        "generalise": resources.generalise,
        "picture": resources.picture,
    }
    return of_job[stage](sweep, sweep.find_job(f"{experiment}/{member}"))


def memory(sweep: Sweep, stage: str, **wildcards: Any) -> int:
    """Return the memory that a job of a rule asks for, in MB: more once it ran out of it."""
    return _growth.memory(stage, wildcards, need(sweep, stage, **wildcards))


def minutes(sweep: Sweep, stage: str, **wildcards: Any) -> int:
    """Return the time limit that a job of a rule asks for, in minutes: more once it ran out of it."""
    return _growth.minutes(stage, wildcards, need(sweep, stage, **wildcards))


def simulate_threads(sweep: Sweep) -> int:
    """Return the cores that a simulation takes of the machine on which its launcher runs."""
    return sweep.config.execution.ranks if sweep.config.execution.launcher == "mpiexec" else 1


def simulate_tasks(sweep: Sweep) -> dict[str, Any]:
    """Return the MPI resources of a simulation: ``mpi`` tells Slurm's executor not to start the job as one task."""
    execution = sweep.config.execution
    # Without the first word a rank that is killed leaves the others waiting for it until the job's time is over.
    spread = f" --kill-on-bad-exit=1 -N {execution.nodes}" if execution.launcher != "mpiexec" else ""
    return {
        "mpi": execution.launcher if execution.ranks > 1 else "",
        "launch": f"{execution.launcher}{spread} -n {execution.ranks}" if execution.ranks > 1 else "",
        "tasks": execution.ranks,
        "nodes": execution.nodes,
        "cpus_per_task": 1,
    }


def priority(stage: Stage | Literal["simulate"]) -> int:
    """Return how a stage's jobs rank where cores are few: the cells furthest along come first, and so do their laws.

    Simulations come before all. They are short, and take several cores at once: behind a training they would wait for
    its end, with all of these cores but one idle.
    """
    return len(STAGES) if stage == "simulate" else STAGES.index(stage)


def distill_threads(sweep: Sweep) -> int:
    """Return the cores that a distilling job takes of the machine on which it runs."""
    dask = sweep.config.execution.dask
    return dask.workers * dask.cores if dask.cluster == "local" else 1


def distill_tasks(sweep: Sweep, memory: Callable[..., int] | int) -> dict[str, Any]:
    """Return the resources of a distilling job: memory, and a task per worker where it brings its own workers.

    Args:
        sweep: The sweep.
        memory: The rule's memory in MB, of the job or of a core.
    """
    dask = sweep.config.execution.dask
    if dask.cluster != "allocation":
        return {"mem_mb": memory}
    return {
        "mem_mb_per_cpu": memory,
        "mpi": "srun" if dask.workers > 1 else "",
        "tasks": dask.workers,
        "cpus_per_task": dask.cores,
    }
