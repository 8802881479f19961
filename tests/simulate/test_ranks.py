"""MPI ranks: equal bits for any number, shared work, and failures that end all ranks with one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from distillery.errors import DistilleryError
from distillery.simulate.ranks import joined
from distillery.workflow.stages.simulate import simulate
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectories import read_trajectories

LIMIT = 120
MPIEXEC = Path(sys.executable).with_name("mpiexec")
EXPERIMENT = {"system": "r^-2", "simulations": 70, "test_simulations": 8, "snapshots": 50}
STAGE = """
import sys
from distillery.workflow.cli import main
main(["simulate", "--config", *sys.argv[1:]])
"""


@pytest.fixture
def sweep(make_sweep: Callable[..., Sweep]) -> Sweep:
    return make_sweep(experiments=[EXPERIMENT], simulation={"block": 8})


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI_", "SLURM_"))}
    return {**clean, "OMP_NUM_THREADS": "1", **more}


def command(sweep: Sweep, folder: Path, ranks: int, *, expected: int | None = None, code: str = STAGE) -> list[str]:
    """Return the command that simulates under mpiexec, with results in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {"results": str(folder / "results"), "models": ["l1"]}
            | {"experiments": [{**EXPERIMENT, "system": sweep.experiments[0].system}]}
            | sweep.config.model_dump(mode="json", include={"simulation", "systems"})
        )
    )
    options = ["--split", "train", "--ranks", str(expected or ranks)]
    return [
        str(MPIEXEC),
        "-n",
        str(ranks),
        sys.executable,
        "-c",
        code,
        str(config),
        str(sweep.experiments[0]),
        *options,
    ]


def start(arguments: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=LIMIT, env=environment(**more), check=False
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def complaints(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of standard error without those of progress."""
    return [line for line in ended.stderr.splitlines() if line.strip() and not line.startswith("simulate ")]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["r^-2", "discontinuous"])
def test_any_number_of_ranks_gives_the_same_bits(make_sweep: Callable[..., Sweep], tmp_path: Path, system: str) -> None:
    sweep = make_sweep(experiments=[{**EXPERIMENT, "system": system}], simulation={"block": 8})
    simulate(sweep, sweep.experiments[0], "train", 1)
    alone = contents(sweep.experiments[0].store(sweep.results, "train"))
    for ranks in (1, 2, 3):
        folder = tmp_path / f"ranks {ranks}"
        ended = start(command(sweep, folder, ranks))
        assert ended.returncode == 0, ended.stderr
        assert complaints(ended) == []
        together = Sweep(sweep.config, folder / "results")
        assert contents(sweep.experiments[0].store(together.results, "train")) == alone
        read_trajectories(together, sweep.experiments[0], "train")
        record = json.loads(sweep.experiments[0].marker(together.results, "train").read_text())
        assert record["ranks"] == ranks


@pytest.mark.slow
def test_warnings_of_a_system_are_printed_once(make_sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    walled = {"potential": "r**2", "body_potential": "0.01/x**2", "time_step": 0.001}
    sweep = make_sweep(systems={"walled": walled}, experiments=[{"system": "walled"}], simulation={"block": 8})
    line = "warning: systems.walled: body_potential '0.01/x**2' or its force is not finite at x = 0, y = 0; "
    for ranks in (2, 1):
        ended = start(command(sweep, tmp_path / str(ranks), ranks))
        assert ended.returncode == 0, ended.stderr
        assert [complaint[: len(line)] for complaint in complaints(ended)] == [line]
    # A complete store is not simulated again and prints nothing.
    ended = start(command(sweep, tmp_path / "2", 2))
    assert (ended.returncode, complaints(ended)) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_simulation_resumes_with_the_same_bits(sweep: Sweep, tmp_path: Path, ranks: int) -> None:
    simulate(sweep, sweep.experiments[0], "train", 1)
    alone = contents(sweep.experiments[0].store(sweep.results, "train"))
    results = tmp_path / "killed" / "results"
    store = sweep.experiments[0].store(results, "train")
    marker = sweep.experiments[0].marker(results, "train")
    # Every block waits, so that the kill interrupts the work.
    slow = "import time\nfrom distillery.workflow.stages import simulate as run\nblock = run.integrated\n" + (
        "run.integrated = lambda *given: (time.sleep(0.3), block(*given))[1]\n" + STAGE
    )
    arguments = command(sweep, tmp_path / "killed", ranks, code=slow)
    for wanted in (1, 4):
        with subprocess.Popen(
            arguments, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            deadline = time.monotonic() + LIMIT
            while len(list(store.glob("acceleration/c.*"))) < wanted and time.monotonic() < deadline:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.2)
        assert not marker.exists()
    kept = {
        name: (store / name).stat().st_mtime_ns
        for name in contents(store)
        if name.startswith("position/c") and "part" not in name
    }
    assert len(kept) >= 4
    ended = start(command(sweep, tmp_path / "killed", ranks))
    assert ended.returncode == 0, ended.stderr
    assert contents(store) == alone
    whole = [name for name, when in kept.items() if (store / name).stat().st_mtime_ns == when]
    assert len(whole) >= len(kept) - ranks


@pytest.mark.slow
def test_an_error_on_one_rank_ends_all_with_one_line(sweep: Sweep, tmp_path: Path) -> None:
    faulty = (
        "from distillery.errors import DistilleryError\n"
        "from distillery.workflow.stages import simulate as run\nblock = run.integrated\n"
        "def fail(integrator, experiment, split, simulations, *others):\n"
        "    if simulations.start == 16:\n"
        "        raise DistilleryError('block 2: broke; mend it')\n"
        "    return block(integrator, experiment, split, simulations, *others)\n"
        "run.integrated = fail\n"
    ) + STAGE
    ended = start(command(sweep, tmp_path / "faulty", 3, code=faulty))
    assert ended.returncode == 1
    assert complaints(ended) == ["distillery: block 2: broke; mend it"]
    assert not sweep.experiments[0].marker(tmp_path / "faulty" / "results", "train").exists()
    again = start(command(sweep, tmp_path / "faulty", 3))
    assert again.returncode == 0


@pytest.mark.slow
def test_a_rank_that_dies_ends_all(sweep: Sweep, tmp_path: Path) -> None:
    dying = (
        "import os\nfrom distillery.workflow.stages import simulate as run\nblock = run.integrated\n"
        "def die(integrator, experiment, split, simulations, *others):\n"
        "    if simulations.start == 16:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return block(integrator, experiment, split, simulations, *others)\n"
        "run.integrated = die\n"
    ) + STAGE
    ended = start(command(sweep, tmp_path / "dying", 2, code=dying))
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert not sweep.experiments[0].marker(tmp_path / "dying" / "results", "train").exists()


@pytest.mark.slow
def test_the_wrong_number_of_ranks_is_refused_in_one_line(sweep: Sweep, tmp_path: Path) -> None:
    ended = start(command(sweep, tmp_path, 2, expected=3))
    assert ended.returncode == 1
    assert len(complaints(ended)) == 1
    assert "3 ranks expected, 2 started; run it as mpiexec -n 3" in complaints(ended)[0]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("size", "rank"),
    [
        ("PMI_SIZE", "PMI_RANK"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ],
)
def test_a_launcher_of_another_mpi_is_refused(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, size: str, rank: str
) -> None:
    monkeypatch.setenv(size, "2")
    monkeypatch.setenv(rank, "0")
    with pytest.raises(DistilleryError, match=rf"started 2 tasks \({size}\), but each believes to be alone"):
        simulate(sweep, sweep.experiments[0], "train", 1)
    monkeypatch.setenv(rank, "1")
    with pytest.raises(SystemExit):
        simulate(sweep, sweep.experiments[0], "train", 1)
    assert not sweep.results.exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["shell", "own"])
def test_one_rank_in_an_interactive_step_of_slurm_is_alone(task: str) -> None:
    """Processes of the shell of `srun --ntasks=4 --pty bash` inherit variables of four tasks."""
    code = "from distillery.simulate import ranks; ranks._START_SECONDS = 20.0; ranks.joined(1).__enter__()"
    own = "import os; os.environ['SLURM_TASK_PID'] = str(os.getpid()); " if task == "own" else ""
    step = {"PMI_SIZE": "4", "PMI_RANK": "0", "PMI_FD": "99", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}
    done = subprocess.run(
        [sys.executable, "-c", own + code],
        env={**os.environ, **step, "SLURM_TASK_PID": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) == (task == "shell"), done.stderr


def test_one_rank_without_a_launcher_does_all_the_work() -> None:
    done: list[str] = []
    with joined(1) as crew:
        assert (crew.rank, crew.size) == (0, 1)
        for word in ("ab", "cde"):
            crew.share(word, done.append)
        assert crew.first(lambda: 42) == 42
        assert crew.total(1.5) == 1.5
    assert done == list("abcde")


def test_more_ranks_than_started_are_refused(sweep: Sweep) -> None:
    with pytest.raises(DistilleryError, match="2 ranks expected, 1 started"):
        simulate(sweep, sweep.experiments[0], "train", 2)
    assert not sweep.results.exists()


def test_a_full_disk_is_one_line(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "train.zarr")

    monkeypatch.setattr("distillery.data.store.Store.write", full)
    with pytest.raises(DistilleryError, match=r"train.zarr: No space left on device; .* run again") as caught:
        simulate(sweep, sweep.experiments[0], "train", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_ranks_that_do_not_connect_end_before_the_time_limit() -> None:
    """One task waits in MPI_Init for another that does not start, as when a launcher loses a message."""
    wait = "import os, time; time.sleep(60) if os.environ['PMI_RANK'] == '1' else None; "
    code = wait + "from distillery.simulate import ranks; ranks._START_SECONDS = 3.0; ranks.joined(2).__enter__()"
    done = start([str(MPIEXEC), "-n", "2", sys.executable, "-c", code])
    assert done.returncode != 0
    assert "Timeout (0:00:03)!" in done.stderr
    assert "in joined" in done.stderr
