"""The command line: what the machine refuses ends in one line too."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.settings import Quijote
from distillery.symbolic import pysr
from distillery.workflow import claim
from distillery.workflow.cli import main
from distillery.workflow.engines import depot_of
from distillery.workflow.plan import require_room
from distillery.workflow.settings import ExecutionSettings
from distillery.workflow.sweep import load_sweep
from support.fabricate import fabricate


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), "distillery: /data/x: permission denied; mend that"),
        (OSError(28, "No space left on device"), "distillery: cannot be written (no space left on device); what was"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "distillery: cannot be written (no space"),
        (OSError(122, "Disk quota exceeded", "/data/x"), "distillery: /data/x: cannot be written (no space left"),
        (OSError("Timed out\nwaiting"), "distillery: timed out; mend that"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: Path, _text: str) -> None:
        raise error

    monkeypatch.setattr(files, "write_text", refuse)
    with pytest.raises(SystemExit) as end:
        main(["schema", "schema.json"])
    assert end.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(line)


def test_the_home_is_found_where_the_shell_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    config = tmp_path / "given.yaml"
    for text, folder in (
        ("~/sweeps", "home/sweeps"),
        ("$SCRATCH/x", "scratch/x"),
        ("${SCRATCH}/x", "scratch/x"),
        ("~/$SCRATCH", f"home/{tmp_path}/scratch"),
    ):
        config.write_text(f'results: "{text}"\nexperiments: [{{system: spring}}]\nmodels: [l1]\n')
        assert load_sweep(config).results == tmp_path / folder
    for text, line in (
        ("$NOT_SET/x", r"results: .*\$NOT_SET is not set"),
        ("~nobody-of-that-name/x", "there is no home"),
    ):
        config.write_text(f'results: "{text}"\nexperiments: [{{system: spring}}]\nmodels: [l1]\n')
        with pytest.raises(DistilleryError, match=line):
            load_sweep(config)
    for text in ("a$", "a~b", "x/~", "a$ b"):
        config.write_text(f'results: "{text}"\nexperiments: [{{system: spring}}]\nmodels: [l1]\n')
        assert load_sweep(config).results == Path(text)
    with pytest.raises(SystemExit):
        main(["table", "--results=~/none"])
    assert str(tmp_path / "home/none") in capsys.readouterr().err


def test_every_path_of_a_configuration_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    quijote = {"groups": "~/q/groups_004", "matter": "$HOME/q/df.npy"}
    catalogue = Quijote.model_validate(quijote)
    assert (catalogue.groups, catalogue.matter) == ("/home/me/q/groups_004", "/home/me/q/df.npy")
    assert depot_of(ExecutionSettings(julia_depot="~/.julia")) == Path("/home/me/.julia")


def test_results_that_are_a_dangling_link_are_refused_with_their_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").symlink_to("/scratch/that/is/gone")
    config = tmp_path / "config.yaml"
    config.write_text(f"results: {tmp_path}/results\nexperiments: [{{system: spring}}]\nmodels: [l1]\n")
    for words in (["plan", "--config", str(config)], ["query", "--results", str(tmp_path / "results")]):
        with pytest.raises(SystemExit):
            main(words)
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith(
            f"distillery: {tmp_path}/results: is a link to /scratch/that/is/gone, which is not there"
        )


PROBE = (
    "from distillery.workflow.cli import cli, main\n"
    "@cli.command('probe')\n"
    "def probe():\n"
    "    import subprocess, sys, torch\n"
    "    print(torch.get_num_threads(), flush=True)\n"
    "    subprocess.run([sys.executable, '-c', 'import random; print(random.__file__)'], check=True)\n"
    "    subprocess.run([sys.executable, '-m', 'random', 'a'], check=True)\n"
    "main(['probe'])\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
@pytest.mark.parametrize("python_path", [None, "", ":/nowhere"])
def test_commands_use_one_thread_and_import_nothing_of_the_users(
    tmp_path: Path, given: dict[str, str], threads: str, python_path: str | None
) -> None:
    for name in ("random.py", "string.py", "queue.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')\n")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")} | given
    environment |= {} if python_path is None else {"PYTHONPATH": python_path}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == threads
    assert str(tmp_path) not in done.stdout


def test_results_below_a_file_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("")
    config = tmp_path / "config.yaml"
    config.write_text(f"results: {tmp_path}/results\nexperiments: [{{system: spring}}]\nmodels: [l1]\n")
    with pytest.raises(SystemExit) as end:
        main(["verify", "spring-2d-4b-s0/l1-s0", "--config", str(config)])
    assert end.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/results" in told
    assert "not a directory" in told


def test_ranks_are_refused_with_a_law(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"results: {tmp_path}/results\nexperiments: [{{system: spring}}]\nmodels: [l1]\n")
    given = ["--split", "test", "--law", "r**2", "--ranks", "2", "--config", str(config)]
    with pytest.raises(SystemExit) as end:
        main(["simulate", "spring-2d-4b-s0", *given])
    assert end.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("distillery: --ranks 2: trajectories by a law are integrated by one process")


def test_a_cell_without_a_law_has_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"results: {tmp_path}/results\nexperiments: [{{system: spring}}]\nmodels: [l1]\n")
    sweep = load_sweep(config)
    (cell,) = sweep.cells
    fabricate(sweep, cell, until="replace", replace={"law": None, "replacement": "singular", "reason": "1/0 is not"})
    for option in ((), ("--system",)):
        with pytest.raises(SystemExit):
            main(["law", str(cell), *option, "--config", str(config)])
        (told,) = capsys.readouterr().err.splitlines()
        assert told == f"distillery: {cell}: has no law (singular): 1/0 is not"


@pytest.mark.parametrize("config", ["a b.yaml", "it's & more.yaml", '"quoted" (1).yaml', ""])
def test_make_run_hands_on_the_path_of_a_configuration_as_one_word(config: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--old-file", ".venv/runtime", "run", f"CONFIG={config}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    words = [shlex.split(line) for line in done.stdout.splitlines()]
    given = [after for line in words for word, after in itertools.pairwise(line) if "--config" in word]
    assert given == ([config] * 3 if config else ["config.yaml"] * 2)


ALONE = "experiments: [{system: spring, simulations: 64, test_simulations: 16, snapshots: 10}]\nmodels: [l1]\n"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("simulation: {tolerance: 1e-8}", None),
        ("distillation: {engine: pysr}", "distillation.engine: pysr cannot run here"),
        ("results: /dev/null/x", "/dev/null: is a file"),
    ],
)
def test_plan_fails_where_a_run_would_be_refused(
    more: str, line: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pysr, "missing", lambda: "there is none")
    (tmp_path / "config.yaml").write_text(f"{ALONE}{more}\n")
    with pytest.raises(SystemExit) as end:
        main(["plan"])
    assert end.value.code == (0 if line is None else 1)
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith(line or "Disk: up to")
    with nullcontext() if line is None else pytest.raises(DistilleryError, match=re.escape(line)):
        require_room(load_sweep(tmp_path / "config.yaml"))


def test_plan_fails_while_another_run_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(ALONE)
    claim.take(Path("results"))
    try:
        with pytest.raises(SystemExit) as end:
            main(["plan"])
    finally:
        claim.release()
    assert end.value.code == 1
    assert "this sweep is run already by" in capsys.readouterr().err
