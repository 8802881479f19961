"""The command line ``distillery``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from distillery.errors import DistilleryError, explain_system, no_room
from distillery.util.environment import import_from_no_working_directory, limit_threads

# Libraries that the commands import must not be those of the working directory.
import_from_no_working_directory()

# These modules add their commands to the group.
from distillery.workflow.commands import machines, results, stages, sweeps  # noqa: E402, F401
from distillery.workflow.commands.options import cli  # noqa: E402

__all__ = ["cli", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends in one line on standard error and exit status 1."""
    words = sys.argv[1:] if arguments is None else arguments
    # Snakemake sets the number of threads to that of the rule, which in these rules is the number of processes.
    limit_threads(always="DISTILLERY_RUN" in os.environ and words[:1] in (["simulate"], ["distill"]))
    _guarded(lambda: cli.main(arguments, prog_name="distillery", standalone_mode=True))


def _guarded(run: Callable[[], object]) -> None:
    try:
        run()
    except DistilleryError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"distillery: {line}\n")
        sys.exit(1)
    except Exception as error:
        # The user can fix these: a folder that is a file, no permission, a full disk, which some libraries report by
        # errors of their own.
        if not isinstance(error, OSError) and not no_room(error):
            raise
        sys.stderr.write(f"distillery: {explain_system(error)}\n")
        sys.exit(1)
