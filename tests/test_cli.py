"""The command line: what the machine refuses ends in one line too."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from distillery import claim, files
from distillery.cli import main
from distillery.distill import pysr
from distillery.errors import DistilleryError
from distillery.plan import require_room
from distillery.sweep import load_sweep
from fabricate import fabricate


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/data/x"), "distillery: /data/x: permission denied; mend that"),
        (OSError(28, "No space left on device"), "distillery: no space left on device; mend that"),
        (OSError("Timed out\nwaiting"), "distillery: timed out; mend that"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: Path, _text: str) -> None:
        raise error

    monkeypatch.setattr(files, "write_text", refuse)
    with pytest.raises(SystemExit) as end:
        main(["schema", "schema.json"])
    assert end.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(line)


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
        cwd=Path(__file__).parents[1],
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
