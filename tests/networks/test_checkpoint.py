"""Checkpoints: an interrupted training resumes with the same bits; damaged or foreign ones are not used."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distillery.errors import DistilleryError
from distillery.files import checksum
from distillery.networks import checkpoint
from distillery.workflow.cell import Cell
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support.training import TRAINING, assert_same, weights_of

CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support import orbits
from distillery.workflow.sweep import Sweep
from distillery.workflow.config import parse_config
from distillery.networks import checkpoint
from distillery.workflow.stages import train as run
run.read_trajectories = orbits.read_trajectories
write, written = checkpoint.write, []
def write_then_die(*arguments):
    write(*arguments)
    written.append(arguments)
    if len(written) == {deadly}:
        os.kill(os.getpid(), 9)
checkpoint.write = write_then_die
content = {content!r}
sweep = Sweep(parse_config(content), Path({results!r}))
run.train(sweep, sweep.cells)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "deadly"),
    # At the seventh checkpoint of the stack the first cell has written its third and the second has not.
    [pytest.param([0], 3, id="single"), pytest.param([0, 1], 7, id="stack", marks=pytest.mark.slow)],
)
def test_killed_training_resumes_with_the_same_bits(
    small: Callable[..., Sweep], tmp_path: Path, seeds: list[int], deadly: int
) -> None:
    sweep = small(seeds=seeds, training={**TRAINING, "frames": 6})
    broken = Sweep(sweep.config, tmp_path / "broken")
    script = CHILD.format(
        tests=str(Path(__file__).parents[1]),
        content=sweep.config.model_dump(mode="json"),
        results=str(broken.results),
        deadly=deadly,
    )
    died = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=100)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    at_hand = [checkpoint.available(c.checkpoint(broken.results), broken.key("train", c)) for c in broken.cells]
    assert max(at_hand[0]) > 60
    assert not broken.cells[0].outcome(broken.results, "train").exists()

    train(broken, broken.cells)
    train(sweep, sweep.cells)
    for place, cell in enumerate(sweep.cells):
        assert_same(weights_of(broken, place), weights_of(sweep, place))
        for file in (Cell.history, Cell.frames):
            assert checksum(file(cell, broken.results)) == checksum(file(cell, sweep.results))


def interrupted(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train until the second checkpoint is written; return the checkpoints' folder."""
    real, written = checkpoint.write, []

    def write(*arguments: object) -> None:
        real(*arguments)
        written.append(arguments)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "write", write)
        train(sweep, sweep.cells)
    return sweep.cells[0].checkpoint(sweep.results)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_damaged_checkpoint_is_refused_with_its_remedy(
    small: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    sweep = small()
    folder = interrupted(sweep, monkeypatch)
    damaged = folder / f"step-000000120.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(DistilleryError) as refusal:
        train(sweep, sweep.cells)
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(str(damaged))
    assert f"delete the folder {folder} to train this cell anew" in line
    assert not sweep.cells[0].outcome(sweep.results, "train").exists()


def test_checkpoints_of_other_settings_stay_and_do_not_replace_new_ones(tmp_path: Path) -> None:
    tensors = {"weight": torch.ones(1)}
    for step in (100, 200):
        checkpoint.write(tmp_path, "old", step, "", tensors)
    for step in (10, 20, 30):
        checkpoint.write(tmp_path, "new", step, "", tensors)
    assert sorted(checkpoint.available(tmp_path, "new")) == [20, 30]
    # They stay until the new training is done or reaches their steps: restoring the old settings resumes from them.
    assert sorted(checkpoint.available(tmp_path, "old")) == [100, 200]


@pytest.mark.slow
def test_checkpoint_of_other_settings_is_not_used(
    small: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = interrupted(small(), monkeypatch)
    changed = small(training={**TRAINING, "learning_rate": 1e-3})
    assert checkpoint.available(folder, changed.key("train", changed.cells[0])) == {}
    train(changed, changed.cells)
    fresh = Sweep(changed.config, tmp_path / "fresh")
    train(fresh, fresh.cells)
    assert_same(weights_of(changed), weights_of(fresh))
