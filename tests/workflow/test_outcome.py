"""Outcomes are whole or absent, are checked when read, and are made by one process at a time."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from distillery import files
from distillery.errors import DistilleryError
from distillery.workflow.outcome import finished, notes, read_outcome, running, write_outcome


def make(path: Path, **changes: object) -> None:
    belongings = changes.pop("belongings", ())
    write_outcome(path, key="k", started=time.monotonic(), result={"a": 1, **changes}, belongings=belongings)


def test_outcome_round_trip_knows_its_origin(tmp_path: Path) -> None:
    make(tmp_path / "train.json")
    outcome = read_outcome(tmp_path / "train.json", key="k")
    assert outcome.result == {"a": 1}
    assert outcome.status == "ok"
    assert outcome.provenance["versions"]["python"].startswith("3.")
    assert list(tmp_path.iterdir()) == [tmp_path / "train.json"]


def test_truncated_outcome_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    make(path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DistilleryError, match=r"train\.json: damaged .* run the sweep again"):
        read_outcome(path)


def test_outcome_of_other_settings_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "train.json")
    with pytest.raises(DistilleryError, match="made with other settings"):
        read_outcome(tmp_path / "train.json", key="other")
    assert not finished(tmp_path / "train.json", "other")


def test_changed_file_of_an_outcome_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.bin"
    weights.write_bytes(b"1234")
    make(tmp_path / "train.json", belongings=(weights,))
    assert finished(tmp_path / "train.json", "k")
    weights.write_bytes(b"1235")
    with pytest.raises(DistilleryError, match=r"model\.bin: missing or damaged"):
        read_outcome(tmp_path / "train.json", key="k")


def test_nan_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("the machine broke")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("library", ["safetensors", "numpy", "text"])
def test_a_full_disk_is_the_same_error_whatever_library_meets_it(tmp_path: Path, library: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left on device") as caught, files.replacing(path) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        match library:
            case "safetensors":
                # Not through the file: it writes beside it and renames.
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            case "numpy":
                with temporary.open("wb", buffering=0) as file:
                    np.ones(100_000).tofile(file)
            case _:
                temporary.write_text("new")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_that_cannot_be_noted_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write_json

    def full(path: Path, content: object) -> None:
        if path.suffix == ".failure":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(DistilleryError, match="x: is wrong"), running(tmp_path / "train.json"):
        raise DistilleryError("x: is wrong")


def test_failure_leaves_its_reason_and_success_clears_it(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    running_note, failure_note = notes(path)
    with pytest.raises(DistilleryError), running(path):
        assert files.read_json(running_note, "")["pid"]
        raise DistilleryError("x: is wrong")
    assert files.read_json(failure_note, "")["reason"] == "x: is wrong"
    assert not running_note.exists()
    with running(path):
        pass
    assert not failure_note.exists()


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom distillery.workflow.outcome import running, write_outcome\n"
        "path = Path(sys.argv[1])\n"
        "with running(path) as started:\n"
        "    print('in', flush=True)\n    sys.stdin.readline()\n"
        "    write_outcome(path, key='k', started=started, result={})\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    second = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for another process that makes")
    assert not path.exists()
    first.communicate("\n", timeout=30)
    assert path.exists()
    second.communicate("\n", timeout=30)
    assert second.returncode == 0
