"""The environment that every process of the program sets before it imports libraries or starts processes.

- The working directory is no place to import from: a ``random.py`` there would take the place of Python's own in every
  process that is started as ``python -m`` or ``python -c``.
- Linear algebra uses one thread unless the user asks for more. Several threads slow small networks down, and they add
  numbers up in another order.
"""

from __future__ import annotations

import os
import sys

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Number of cores of a worker of a cluster, for the process of its fit.
CORES = "DISTILLERY_WORKER_CORES"


def import_from_no_working_directory() -> None:
    """Take the working directory from the path of this process and of all that it starts."""
    os.environ["PYTHONSAFEPATH"] = "1"
    given = os.environ.get("PYTHONPATH")
    if given is not None:
        # An empty entry, as `PYTHONPATH=$PYTHONPATH:/more` leaves it, means the working directory.
        named = [entry for entry in given.split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
        if os.getcwd() not in named:  # noqa: PTH109 (compared with the text that Python put there)
            sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]  # noqa: PTH109


def limit_threads(*, always: bool = False) -> None:
    """Let libraries that are imported later use one thread, or as many as ``OMP_NUM_THREADS`` says.

    Args:
        always: Whether one thread is used whatever the environment says.
    """
    for name in THREADS:
        if always:
            os.environ[name] = "1"
        else:
            os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", "1"))
