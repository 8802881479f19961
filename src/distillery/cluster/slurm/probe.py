"""Examine a node of the cluster: ``python -m distillery.cluster.slurm.probe look|launchers|rank …``.

Everything a node tells stands in one JSON file in the test's folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import distillery
from distillery import files
from distillery.errors import DistilleryError

# A launcher that does not know this MPI may hang.
_LAUNCH_LIMIT = 60.0
_ANSWER_LIMIT = 60.0
_NETWORK_LIMIT = 3.0
# Where Julia's packages come from.
_OUTSIDE = ("pkg.julialang.org", 443)


def look(result: Path, gpu: bool) -> dict[str, Any]:
    """Return what this node is like, after an exchange of files with the process that waits for ``result``.

    Args:
        result: The test's result; the exchange uses files next to it.
        gpu: Whether to look for GPUs.
    """
    # First of all: who waits measures from here.
    exchange = _exchange(result)
    found = {
        "host": _node(),
        "python": platform.python_version(),
        "package": str(Path(distillery.__file__).parent),
        **exchange,
        "free": shutil.disk_usage(result.parent).free,
        "network": _reaches(_OUTSIDE),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cores": len(os.sched_getaffinity(0)),
    }
    return {**found, **_gpus()} if gpu else found


def _exchange(result: Path) -> dict[str, Any]:
    """Write a file, wait for the answer, and tell how long that took by this node's clock.

    The way there and back takes no common clock. Files are looked for before they exist, as Snakemake does it: what
    a shared file system remembers of their absence is part of the latency.
    """
    ping, pong = result.with_suffix(".ping"), result.with_suffix(".pong")
    pong.exists()
    sent = time.time()
    started = time.monotonic()
    files.write_text(ping, f"{sent}")
    while not pong.exists():
        if time.monotonic() - started > _ANSWER_LIMIT:
            return {"round_trip": None, "sent": sent}
        time.sleep(0.02)
    return {"round_trip": time.monotonic() - started, "sent": sent}


def _node() -> str:
    """Return this node's name as Slurm knows it."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def _reaches(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=_NETWORK_LIMIT).close()
    except OSError:
        return False
    return True


def _gpus() -> dict[str, Any]:
    """Return what Slurm, the driver and PyTorch say about GPUs here."""
    found: dict[str, Any] = {"given": os.environ.get("CUDA_VISIBLE_DEVICES"), "driver": None, "torch": None}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        found["driver"] = asked.stdout.strip().splitlines()
    try:
        import torch

        found["torch_version"] = torch.__version__
        found["torch"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        if found["torch"]:
            # A device that is listed may still refuse to work: compute something on it.
            found["works"] = float(torch.ones(8, device="cuda").sum()) == 8.0
    except Exception as error:
        found["reason"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return found


def launchers(result: Path, kinds: Sequence[str], nodes: int, ranks: int) -> list[dict[str, Any]]:
    """Start ranks with the first launcher that works, and tell what each did that was tried.

    A preferred launcher that did not answer is tried once more: alone in the list, with what it said at first, if it
    works then.

    Args:
        result: The test's result; ranks write files next to it.
        kinds: Launchers in the order of preference.
        nodes: Nodes to spread the ranks over.
        ranks: How many.
    """
    # An MPI launcher of this Python is in the same folder.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}

    def attempt(number: int, kind: str) -> dict[str, Any]:
        told = result.with_suffix(f".ranks-{number}")
        spread = [] if kind == "mpiexec" else ["-N", str(nodes)]
        program = [sys.executable, "-m", "distillery.cluster.slurm.probe", "rank", str(told), f"--ranks={ranks}"]
        found = _launch([*shlex.split(kind), *spread, "-n", str(ranks), *program], environment)
        if told.exists():
            found["hosts"] = json.loads(told.read_text(encoding="utf-8"))
        return {"launcher": kind, "works": "hosts" in found and found["status"] == 0, **found}

    tried: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds):
        tried.append(attempt(number, kind))
        if tried[-1]["works"]:
            break
    # A launcher loses a message now and then, and ranks wait for each other: one silence shows nothing.
    if tried[0]["silent"]:
        again = attempt(len(kinds), kinds[0])
        return [{**again, "first_said": tried[0]["said"]}] if again["works"] else tried
    return tried


def _launch(words: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_LAUNCH_LIMIT, env=environment, check=False, errors="replace"
        )
    except OSError as error:
        return {"status": None, "silent": False, "said": f"{words[0]}: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"status": None, "silent": True, "said": f"no answer in {_LAUNCH_LIMIT:g} s"}
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    # The line that tells what a task found wrong is worth more than what the launcher says about its end.
    own = [line for line in lines if line.startswith("MPI: ")]
    return {"status": done.returncode, "silent": False, "said": (own or lines or [""])[0]}


def rank(result: Path, ranks: int) -> None:
    """Join the other ranks; the first one writes the node of each.

    Raises:
        DistilleryError: Not as many as expected are there.
    """
    from distillery.simulate.ranks import joined

    with joined(ranks) as all_ranks:
        hosts = all_ranks.gathered(_node())
        all_ranks.first(lambda: files.write_json(result, hosts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one of the tests and write what it found."""
    parser = argparse.ArgumentParser(prog="probe")
    parser.add_argument("test", choices=("look", "launchers", "rank"))
    parser.add_argument("result", type=Path)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--launcher", action="append", default=[])
    given = parser.parse_args(arguments)
    if given.test == "rank":
        try:
            rank(given.result, given.ranks)
        except DistilleryError as error:
            sys.exit(str(error))
        return
    tests: dict[str, Callable[[], Any]] = {
        "look": lambda: look(given.result, given.gpu),
        "launchers": lambda: launchers(given.result, given.launcher, given.nodes, given.ranks),
    }
    files.write_json(given.result, tests[given.test]())


if __name__ == "__main__":
    main()
