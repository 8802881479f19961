"""One run at a time works on a results folder; dead ones are told from living ones."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distillery import files
from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError
from distillery.workflow import claim
from distillery.workflow.run import is_run

TAKE = (
    "import sys, time\nfrom pathlib import Path\nfrom distillery.workflow import claim\n"
    "from distillery.errors import DistilleryError\n"
    "claim.BEAT = 0.05\n"
    "results, go = Path(sys.argv[1]), Path(sys.argv[2])\n"
    "print('up', flush=True)\n"
    "while not go.exists(): time.sleep(0.001)\n"
    "try:\n"
    "    claim.take(results)\n"
    "    if 'begin' in sys.argv: claim.begin('distillery_run')\n"
    "    print('mine', flush=True)\n"
    "except DistilleryError as error:\n"
    "    print(error, flush=True)\n"
    "sys.stdin.readline()\n"
)


@pytest.fixture(autouse=True)
def _given_up() -> Iterator[None]:
    yield
    claim.release()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def taker(results: Path, *words: str) -> subprocess.Popen[str]:
    """A process that takes the claim as soon as a file ``go`` is there, and lives until it is written to."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(results), str(results.parent / "go"), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(results: Path, *words: str) -> None:
    """Leave the claim of a process that was killed."""
    (results.parent / "go").touch()
    process = taker(results, *words)
    assert said(process) == "mine"
    process.kill()
    process.communicate(timeout=30)


def change(results: Path, **changes: Any) -> None:
    path = results / claim.NAME
    files.write_json(path, {**json.loads(path.read_text()), **changes})


def test_a_claim_tells_who_and_goes_with_its_process(results: Path) -> None:
    claim.take(results)
    found = claim.look(results)
    assert found is not None
    assert found.alive
    assert found.claim is not None
    assert found.claim.worker.pid == os.getpid()
    assert found.claim.directory == Path.cwd()
    assert os.environ[claim.RUN] == found.claim.token
    claim.release()
    assert claim.look(results) is None
    assert not results.exists(), "a folder that was made for nothing goes too"


@pytest.mark.slow
def test_of_many_that_start_at_once_one_begins(results: Path) -> None:
    processes = [taker(results) for _ in range(6)]
    (results.parent / "go").touch()
    answers = [said(process) for process in processes]
    winner = processes[answers.index("mine")]
    refused = [answer for answer in answers if answer != "mine"]
    assert len(refused) == 5
    for line in refused:
        assert f"(process {winner.pid}) since 2" in line
        assert "wait for its end, or stop it there (Ctrl-C; kill" in line
    for process in processes:
        process.communicate("\n", timeout=30)
    assert not list(results.glob("*"))


def test_a_run_killed_before_it_began_leaves_no_trace(results: Path) -> None:
    killed(results)
    found = claim.look(results)
    assert found is not None
    assert not found.alive
    claim.take(results)


def test_a_run_killed_at_work_blocks_others_until_it_is_cleared_up(results: Path) -> None:
    killed(results, "begin")
    with pytest.raises(DistilleryError, match="was killed, and jobs of it may go on; run distillery resume"):
        claim.take(results)
    found = claim.look(results)
    assert found is not None
    assert claim.remove(results, found.claim)
    claim.take(results)


def test_another_process_of_the_same_number_is_not_the_run(results: Path) -> None:
    killed(results, "begin")
    change(results, pid=os.getpid())
    found = claim.look(results)
    assert found is not None
    assert not found.alive


def test_elsewhere_the_last_touch_counts_by_the_clock_of_the_file_system(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(results, "begin")
    change(results, host="elsewhere")
    monkeypatch.setattr(time, "time", lambda: 4e9)  # This host's clock is wrong.
    with pytest.raises(DistilleryError, match=r"on elsewhere .* \(last sign of life \d+ s ago; after 300 s"):
        claim.take(results)
    touched = (results / claim.NAME).stat().st_mtime - claim.PATIENCE - 1
    os.utime(results / claim.NAME, (touched, touched))
    with pytest.raises(DistilleryError, match="was killed"):
        claim.take(results)


@pytest.mark.parametrize(("ahead", "alive"), [(claim.PATIENCE + 60, False), (259194.0, False), (10.0, True)])
def test_elsewhere_a_claim_from_the_future_is_that_of_a_dead_run(results: Path, ahead: float, alive: bool) -> None:
    """The clock of the file system was set back; a run that lives would have touched its claim since."""
    killed(results, "begin")
    change(results, host="elsewhere")
    touched = files.clock(results) + ahead
    os.utime(results / claim.NAME, (touched, touched))
    with pytest.raises(DistilleryError) as refused:
        claim.take(results)
    assert ("last sign of life 0 s ago" if alive else "run distillery resume") in str(refused.value)
    assert "-" not in str(refused.value).partition("sign of life")[2].partition(" s ago")[0]


@pytest.mark.parametrize(("queue", "alive"), [({}, False), ({"42": "RUNNING"}, True)])
def test_elsewhere_slurm_knows_whether_a_job_lives(
    results: Path, monkeypatch: pytest.MonkeyPatch, queue: dict[str, str], alive: bool
) -> None:
    killed(results, "begin")
    change(results, host="elsewhere", job="42")
    monkeypatch.setattr(commands, "available", lambda: True)
    monkeypatch.setattr(commands, "living", lambda _numbers: queue)
    found = claim.look(results)
    assert found is not None
    assert found.alive is alive


def test_a_claim_is_kept_alive(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT", 0.02)
    claim.take(results)
    os.utime(results / claim.NAME, (1.0, 1.0))
    deadline = time.monotonic() + 10
    while (results / claim.NAME).stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    found = claim.look(results)
    assert found is not None
    assert found.quiet < 5


@pytest.mark.slow
def test_a_run_whose_claim_was_taken_away_stops(results: Path) -> None:
    (results.parent / "go").touch()
    process = taker(results, "begin")
    assert said(process) == "mine"
    change(results, token="another", user="alice")
    assert process.wait(timeout=30) == -15
    _, complaint = process.communicate(timeout=30)
    assert "its claim was taken away by alice on" in complaint
    found = claim.look(results)
    assert found is not None
    assert found.claim is not None
    assert found.claim.token == "another", "the new claim is not touched"


WORK = """
import os, sys, time
from pathlib import Path
from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow.outcome import running
files._MOMENT = 0.01
cell = Path("results/spring/cell")
with running(cell / "train.json"):
    print("begun", flush=True)
    sys.stdin.readline()
    try:
        files.write_text({path}, "x")
    except DistilleryError as error:
        print(error, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["cell / 'checkpoint' / '1.json'", "cell / 'train.json'", "Path('results/fits/1.json')"]
)
@pytest.mark.parametrize("recreated", [False, True], ids=["gone", "made anew by another job"])
def test_a_job_makes_no_results_folder_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, recreated: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    claim.take(Path("results"))
    job = subprocess.Popen(
        [sys.executable, "-c", WORK.replace("{path}", path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert said(job) == "begun"
    Path("results").rename("renamed")
    if recreated:
        Path("results/logs").mkdir(parents=True)
    out, _ = job.communicate("\n", timeout=60)
    expected = (
        f"{tmp_path / 'results'}: this results folder was renamed or removed while its run works in it, and none is"
    )
    assert out.startswith(expected)
    assert Path("results").exists() is recreated
    assert not [file for file in Path("results").rglob("*") if file.is_file()]
    # What belongs elsewhere is of no concern.
    files.write_text(tmp_path / "other" / "x", "x")


@pytest.mark.parametrize("content", ["", "x", "link"])
def test_only_a_folder_without_content_is_removed(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "results"
    (folder / "logs" / "cell").mkdir(parents=True)
    (folder / "logs" / "cell" / "train.log").touch()
    if content == "link":
        (folder / "link").symlink_to("nowhere")
    else:
        (folder / "logs" / "other.log").write_text(content)
    files.remove_hollow(folder)
    assert folder.exists() is bool(content)
    files.remove_hollow(tmp_path / "missing")


@pytest.mark.slow
def test_a_run_whose_results_folder_was_renamed_stops_with_the_reason(results: Path) -> None:
    (results.parent / "go").touch()
    process = taker(results, "begin")
    assert said(process) == "mine"
    results.rename(results.with_name("renamed"))
    assert process.wait(timeout=30) == -2
    _, complaint = process.communicate(timeout=30)
    assert f"{results}: this results folder was renamed or removed while its run works in it" in complaint
    assert "taken away" not in complaint
    assert not results.exists()
    found = claim.look(results.with_name("renamed"))
    assert found is not None
    assert found.claim is not None
    assert found.claim.slurm == "distillery_run", "what it left is found where it is now"


@pytest.mark.slow
def test_a_run_whose_claim_was_away_for_a_moment_goes_on(results: Path) -> None:
    (results.parent / "go").touch()
    process = taker(results, "begin")
    assert said(process) == "mine"
    aside = results / "aside"
    (results / claim.NAME).rename(aside)
    time.sleep(0.2)
    aside.rename(results / claim.NAME)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    process.communicate("\n", timeout=30)
    assert process.returncode == 0


def test_only_the_claim_that_was_meant_is_removed(results: Path) -> None:
    claim.take(results)
    found = claim.look(results)
    assert found is not None
    assert found.claim is not None
    assert not claim.remove(results, dataclasses.replace(found.claim, token="another"))
    assert not claim.remove(results, None)
    still = claim.look(results)
    assert still is not None
    assert still.claim == found.claim
    assert [path.name for path in results.iterdir()] == [claim.NAME]


def test_a_file_system_without_links_serves_too(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    claim.take(results)
    held, claim._held = claim._held, None
    with pytest.raises(DistilleryError, match="is run already"):
        claim.take(results)
    claim._held = held


def test_a_claim_that_cannot_be_read_is_honoured_while_it_is_new(results: Path) -> None:
    results.mkdir()
    path = results / claim.NAME
    path.write_text("{")
    with pytest.raises(DistilleryError, match="cannot be read, but was written"):
        claim.take(results)
    os.utime(path, (1.0, 1.0))
    claim.take(results)


def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(DistilleryError, match="results: cannot be written to"):
        claim.take(tmp_path / "results")


@pytest.mark.parametrize(
    ("main", "dry", "words", "runs"),
    [
        (True, False, "--profile slurm", True),
        (True, False, "--unlock", True),
        (True, False, "--touch", True),
        (True, False, "--delete-all-output", True),
        (True, False, "--report out.html --report-after-run", True),
        (True, False, "results/summary --until simulate", True),
        (True, True, "-np", False),
        (False, False, "--mode remote", False),
        (True, False, "--lint", False),
        (True, False, "--summ", False),
        (True, False, "-S", False),
        (True, False, "-lt", False),
        (True, False, "--rulegr", False),
        (True, False, "--list-params", False),
        (True, False, "--report=out.html", False),
        (True, False, "--archive out.tar", False),
    ],
)
def test_questions_and_jobs_are_no_runs(main: bool, dry: bool, words: str, runs: bool) -> None:
    snakemake = SimpleNamespace(is_main_process=main, output_settings=SimpleNamespace(dryrun=dry))
    assert is_run(snakemake, words.split()) is runs
