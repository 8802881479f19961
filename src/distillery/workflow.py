"""What the Snakemake rules ask of the sweep: paths with wildcards, keys, inputs, and handlers.

Rules hold no logic; each line of theirs that depends on the sweep is a call into this module.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from distillery import claim, files, resources
from distillery.cell import (
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
from distillery.errors import DistilleryError
from distillery.reopen import drop_stale
from distillery.resources import Need
from distillery.slurm.growth import Growth
from distillery.sweep import RESOLVED, Sweep, sweep_from
from distillery.yaml_file import read_yaml

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
# What Snakemake can be asked to do that leaves results alone.
_QUESTIONS = (
    *("--lint", "--list-rules", "--list", "-l", "--list-target-rules", "--lt", "--print-compilation"),
    *("--dag", "--rulegraph", "--filegraph", "--d3dag", "--summary", "-S", "--detailed-summary", "-D"),
    *("--list-changes", "--lc", "--list-input-changes", "--li", "--list-params-changes", "--lp"),
    *("--list-untracked", "--lu", "--report", "--reporter", "--containerize", "--generate-unit-tests"),
    *("--conda-create-envs-only", "--list-conda-envs", "--conda-cleanup-envs"),
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


def open_sweep(content: Mapping[str, Any], snakemake: Any) -> Sweep:
    """Return the sweep of Snakemake's configuration, or end with one line that says what is wrong.

    The command ``distillery`` and the MPI launcher of this Python are put first on the path of all jobs. A run
    claims the results folder here, before Snakemake plans or locks anything.

    Args:
        content: The configuration.
        snakemake: Snakemake's object ``workflow``. It knows what the command line or a profile set in the
            configuration, and hands the numbers in it on as text.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Conda environments are given this package by their post-deploy scripts.
    os.environ["DISTILLERY_CHECKOUT"] = str(Path(snakemake.basedir).parent)
    settings = snakemake.config_settings
    source = " + ".join(str(source) for source in settings.configfiles) or "config.yaml"
    sweep = _or_end(lambda: sweep_from(overlaid(content, settings.config), source))
    if is_run(snakemake, sys.argv[1:]):
        _or_end(lambda: claim.take(sweep.results))
        _watch_slurm(sweep)
        # Another run may have put cells together in other jobs; what it wrote is unknown to Snakemake.
        _or_end(lambda: drop_stale(sweep))
    elif not snakemake.is_main_process:
        _or_end(lambda: files.require_claim(sweep.results))
    return sweep


def _watch_slurm(sweep: Sweep) -> None:
    """Let Snakemake use our Slurm executor, where the plugin for Slurm is installed."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        from distillery.slurm import executor
        from distillery.slurm.watch import Watch

        executor.install(Watch(sweep, _growth))


def is_run(snakemake: Any, words: Sequence[str]) -> bool:
    """Tell whether this Snakemake is going to work: not a job of another one, a dry run or a question.

    Args:
        snakemake: Snakemake's object ``workflow``.
        words: The command line; when the rules are read, Snakemake has not taken note of it all.
    """
    options = {word.partition("=")[0] for word in words}
    asks = not options.isdisjoint(_QUESTIONS) and "--report-after-run" not in options
    return snakemake.is_main_process and not snakemake.output_settings.dryrun and not asks


def overlaid(content: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with what was given as text in it read as YAML would read it in a file."""
    result = dict(content)
    for key, value in given.items():
        below = content.get(key)
        if isinstance(value, Mapping):
            result[key] = overlaid(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = _scalar(value)
    return result


def _scalar(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_scalar(entry) for entry in value]
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        return value


def _or_end(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except DistilleryError as error:
        sys.stderr.write(f"{error}\n")
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
    from distillery.distill.engine import require_all
    from distillery.plan import require_room, warnings_of
    from distillery.slurm.require import require_site

    _growth.limit(_or_end(lambda: require_site(snakemake)))
    _or_end(lambda: require_all(sweep))
    _or_end(lambda: require_room(sweep))
    for line in warnings_of(sweep):
        sys.stderr.write(f"warning: {line}\n")
    # The Slurm executor gives all jobs of a run one name, by which `distillery resume` finds them.
    claim.begin(getattr(getattr(snakemake.scheduler, "_executor", None), "run_uuid", ""))
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

    if not (sweep.results / claim.NAME).exists():
        # The results folder is elsewhere now, and Snakemake has made empty logs in its place.
        files.remove_hollow(sweep.results)
    else:
        _or_end(lambda: collect(sweep))
        _or_end(lambda: _print_table(sweep))


def _print_table(sweep: Sweep) -> None:
    from distillery.collect.table import results_table

    sys.stdout.write(results_table(sweep.results) + "\n")
    sys.stdout.flush()


def pictures(sweep: Sweep) -> list[str]:
    """Return the pictures of all experiments and jobs."""
    of_experiments = [experiment.picture(sweep.results) for experiment in sweep.experiments]
    of_jobs = [job.picture(sweep.results, name) for job in sweep.jobs.values() for name in PICTURES]
    return [str(file) for file in of_experiments + of_jobs]


def category(sweep: Sweep, experiment: str) -> str:
    """Return under which heading of Snakemake's report the picture of an experiment stands."""
    return "Halos" if sweep.kind(Experiment.parse(experiment)) == "halos" else "Trajectories"


def ended(sweep: Sweep) -> list[str]:
    """Return the last outcomes of all jobs."""
    return [str(job.outcome(sweep.results, STAGES[-1])) for job in sweep.jobs.values()]


def data_key(sweep: Sweep, experiment: str, split: Split) -> str:
    """Return the key of an experiment's trajectories."""
    return sweep.data_key(Experiment.parse(experiment), split)


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
