"""A run of Snakemake on a sweep: its claim on the results folder, its start, and its end."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from snakemake.cli import get_argument_parser  # type: ignore[import-untyped]

from distillery import files
from distillery.errors import DistilleryError, explain_system, no_room
from distillery.util.environment import import_from_no_working_directory
from distillery.util.yaml_file import read_yaml
from distillery.workflow import claim, earlier, outcome
from distillery.workflow.cell import STORE_MARKER
from distillery.workflow.slurm.growth import Growth
from distillery.workflow.snakemake_config import configured
from distillery.workflow.sweep import Sweep, resolved_path, sweep_from, write_resolved
from distillery.workflow.termination import end_on_sigterm

_T = TypeVar("_T")
# Resources that jobs on Slurm ran out of, and the largest requests.
growth = Growth()
# Options with which Snakemake prints or exports something and makes no results, by their names in its parser.
_QUESTIONS = (
    *("lint", "list_rules", "list_target_rules", "print_compilation"),
    *("dag", "rulegraph", "filegraph", "d3dag", "summary", "detailed_summary"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
    *("report", "reporter", "containerize", "generate_unit_tests", "archive"),
    *("conda_create_envs_only", "list_conda_envs", "conda_cleanup_envs"),
)


def default_config(workflow_folder: str) -> str:
    """Return the default configuration file: that of the working directory, or that of the checkout.

    It is read here first, because Snakemake does not report the place of a syntax error.
    """
    own = Path("config.yaml")
    chosen = own if own.exists() else Path(workflow_folder).parent / "config.yaml"
    exit_on_error(lambda: read_yaml(chosen))
    return str(chosen)


def open_sweep(snakemake: Any) -> Sweep:
    """Return the sweep of Snakemake's configuration; exit with one line if the configuration is wrong.

    The folder of the command ``distillery`` and of the MPI launcher becomes the first on the path of all jobs. A run
    claims the results folder here, before Snakemake plans or locks anything.

    Args:
        snakemake: Snakemake's object ``workflow``.
    """
    import_from_no_working_directory()
    end_on_sigterm()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # The post-deploy scripts of conda environments install this package from here.
    os.environ["DISTILLERY_CHECKOUT"] = str(Path(snakemake.basedir).parent)
    sweep = exit_on_error(lambda: sweep_from(*configured(snakemake)))
    if is_run(snakemake, sys.argv[1:]):
        exit_on_error(lambda: claim.take(sweep.results))
        _install_executor(sweep)
    elif not snakemake.is_main_process:
        exit_on_error(lambda: files.require_claim(sweep.results))
    return sweep


def _install_executor(sweep: Sweep) -> None:
    """Install the patient Slurm executor if the plugin for Slurm is installed."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        from distillery.workflow.slurm import executor
        from distillery.workflow.slurm.watch import Watch

        executor.install(Watch(sweep, growth))


def is_run(snakemake: Any, words: Sequence[str]) -> bool:
    """Return whether this Snakemake makes results: it is no job of another run, no dry run and no query.

    Args:
        snakemake: Snakemake's object ``workflow``.
        words: The command line; Snakemake has not evaluated all of it when it reads the rules.
    """
    if not snakemake.is_main_process or snakemake.output_settings.dryrun:
        return False
    # Snakemake's own parser accepts shortened and joined options (-lt) and all their names.
    parser = get_argument_parser()
    given, _ = parser.parse_known_args(list(words))
    if given.report_after_run:
        return True
    return not any(getattr(given, name, None) not in (None, False, parser.get_default(name)) for name in _QUESTIONS)


def exit_on_error(work: Callable[[], _T]) -> _T:
    """Call a function; print a DistilleryError or a full disk as one line and exit with status 1."""
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


def begin(sweep: Sweep, snakemake: Any) -> None:
    """Check engine, site and disk at the start of a run, and write the checked configuration for its jobs.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.

    Raises:
        SystemExit: A check failed; the reason was printed.
    """
    from distillery.workflow.plan import require_room, warnings_of
    from distillery.workflow.slurm.require import require_site

    growth.limit(exit_on_error(lambda: require_site(snakemake)))
    on_slurm = getattr(getattr(snakemake, "executor_plugin", None), "name", "") == "slurm"
    exit_on_error(lambda: require_room(sweep, cluster=on_slurm))
    for line in warnings_of(sweep):
        sys.stderr.write(f"warning: {line}\n")
    # All Slurm jobs of a run have one name, by which `distillery resume` finds them.
    claim.begin(getattr(getattr(snakemake.scheduler, "_executor", None), "run_uuid", ""))
    exit_on_error(lambda: write_resolved(sweep))
    _keep(sweep, snakemake)


def _keep(sweep: Sweep, snakemake: Any) -> None:
    """Keep the outputs of all jobs that will run until new outputs are complete, however this run ends."""
    # A restored store would hide from Snakemake that its inputs are missing.
    store = str(sweep.results / STORE_MARKER)
    kept = []
    for job in snakemake.dag.needrun_jobs():
        # Snakemake leaves the working directory before this process ends.
        outputs = [Path(file).absolute() for file in job.output if file != store]
        kept += earlier.keep(outputs, forced=snakemake.dag.reason(job).forced)
    atexit.register(earlier.restore, kept, outcome.is_whole)


def finish(sweep: Sweep, snakemake: Any) -> None:
    """Print the table of results at the end of a run that completed the store.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.

    Raises:
        SystemExit: Every cell failed.
    """
    marker = sweep.results / STORE_MARKER
    content = files.read_json(marker, "run distillery collect") if marker.exists() else {}
    if content.get("key") == sweep.collect_key:
        exit_on_error(lambda: _print_table(sweep))
        _name_remedy(sweep, content["counts"], snakemake)
        if set(content["counts"]) == {"failed"}:
            # Snakemake itself reports success, for failures of cells do not stop it.
            raise SystemExit(1)


def gather(sweep: Sweep, snakemake: Any) -> None:
    """Collect and print the finished results of a failed run.

    Args:
        sweep: The sweep.
        snakemake: Snakemake's object ``workflow``.
    """
    from distillery.workflow.stages.collect import collect

    if not (sweep.results / claim.NAME).exists():
        # The results folder was moved, and Snakemake has made empty logs in its place.
        files.remove_hollow(sweep.results)
    else:
        counts = exit_on_error(lambda: collect(sweep))
        exit_on_error(lambda: _print_table(sweep))
        _name_remedy(sweep, counts, snakemake)


def _name_remedy(sweep: Sweep, counts: Mapping[str, int], snakemake: Any) -> None:
    """Print the commands that repeat failed cells as the last line of a run.

    Args:
        sweep: The sweep.
        counts: The number of cells by status.
        snakemake: Snakemake's object ``workflow``.
    """
    open_cells = sum(count for status, count in counts.items() if status not in ("ok", "diverged"))
    if not open_cells:
        return
    given = [str(file) for file in snakemake.config_settings.configfiles]
    # The commands take one file: of several, the merged configuration.
    config = [str(Path(resolved_path(sweep)).absolute())] if len(given) > 1 else given
    option = shlex.join(["--config", *config]) if config else ""
    status, resume = (f"distillery {command} {option}".strip() for command in ("status", "resume"))
    total = sum(counts.values())
    which = (
        f"every cell failed ({_a_failure(sweep)})"
        if counts.get("failed") == total
        else f"{open_cells} of {total} cells are not done"
    )
    line = (
        f"{which}. `{status}` shows why; after fixing that, run "
        f"`{resume}` to reopen failed cells, and start the sweep again.\n"
    )
    # Snakemake prints more after its handlers.
    atexit.register(sys.stderr.write, line)


def _a_failure(sweep: Sweep) -> str:
    """Return the reason of the first failed stage of the first cell that has one."""
    from distillery.workflow.state import cell_states

    states = (state for cell in sweep.cells for state in cell_states(sweep, cell, results=False).values())
    return next((state.reason for state in states if state.state == "failed"), "no reason is known")


def _print_table(sweep: Sweep) -> None:
    from distillery.results.table import results_table

    sys.stdout.write(results_table(sweep.results) + "\n")
    sys.stdout.flush()
