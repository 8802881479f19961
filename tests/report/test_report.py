"""Test that pictures have their content or the reason of a failure, and are reproducible."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.report.style import typeset
from distillery.workflow import report_details
from distillery.workflow.config import parse_config
from distillery.workflow.report_details import pareto_fronts, read_fits
from distillery.workflow.stages.report import best_record, draw_cell, draw_experiment, draw_overview, draw_picture
from distillery.workflow.sweep import Sweep
from support.fabricate import LAWS, end, fabricate, messages


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    content = {"experiments": [{"system": "spring"}], "models": ["bottleneck", "standard", "l1", "kl"]}
    made = Sweep(parse_config(content), tmp_path_factory.mktemp("report") / "results")
    for cell in made.cells[:2]:
        fabricate(made, cell)
        messages(made, cell)
    end(made, made.cells[2], "train", "diverged", "the loss became NaN at step 12")
    return made


@pytest.fixture(autouse=True)
def _trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    time = np.linspace(0, 9.9, 20)
    phase = time[None, :, None, None] + np.arange(4)[None, None, :, None] + np.array([0.0, np.pi / 2])
    paths = np.repeat(np.cos(phase), 5, axis=0)
    found = Trajectories(paths, time, paths, paths, np.ones((5, 4)), np.ones((5, 4)))
    monkeypatch.setattr(report_details, "read_trajectories", lambda *_: found)


def words(path: Path) -> str:
    """Return all text of an SVG."""
    return "\n".join(ElementTree.fromstring(path.read_text(encoding="utf-8")).itertext())


def test_messages_are_fitted_by_the_true_force(sweep: Sweep) -> None:
    fits = read_fits(sweep, sweep.cells[0])
    assert [(fit.target, fit.component) for fit in fits] == [
        ("force", 0),
        ("force", 1),
        ("acceleration", 0),
        ("acceleration", 1),
    ]
    for fit in fits:
        assert len(fit.fitted) == 200  # the held-out half
        spread = np.abs(fit.message - fit.fitted).mean() / fit.message.std()
        assert (spread < 0.05) == (fit.target == "force")
    assert fits[0].r2 == 0.99
    assert fits[3].r2 == pytest.approx(0.3 * 0.99 + 0.001)


@pytest.mark.slow
def test_the_pictures_of_a_cell(sweep: Sweep) -> None:
    cell = sweep.cells[0]
    draw_cell(sweep, cell)
    text = words(cell.picture(sweep.results, "messages"))
    assert str(cell) in text
    assert "linear combination of F (dimensionless)" in text
    assert "linear combination of F/m (dimensionless)" in text
    assert {"R² 0.990", "R² 0.991", "R² 0.297", "R² 0.298"} <= set(text.splitlines())
    text = words(cell.picture(sweep.results, "front"))
    assert "2.1·Δx·(1 − 1/r)" in text
    assert "2.1·Δy·(1 − 1/r) + 0.013" in text
    assert "component 1, the true law:" in text
    draw_cell(sweep, sweep.cells[1])
    assert "component 1, not the law:" in words(sweep.cells[1].picture(sweep.results, "front"))


@pytest.mark.slow
def test_a_filmed_training_is_drawn_below_its_messages(tmp_path: Path) -> None:
    content = {"experiments": [{"system": "spring"}], "models": ["bottleneck"], "training": {"frames": 5}}
    made = Sweep(parse_config(content), tmp_path / "results")
    (cell,) = made.cells
    fabricate(made, cell)
    messages(made, cell)
    fits = read_fits(made, cell)
    for fit in fits:
        assert [moment.step for moment in fit.moments] == [0, 3, 10, 32, 100]
        np.testing.assert_allclose(fit.moments[-1].message, fit.message[:120], rtol=1e-6)
        assert np.ptp(fit.moments[0].message) == 0
    draw_picture(made, cell, "messages", tmp_path / "messages.svg")
    text = words(tmp_path / "messages.svg")
    assert "while it was trained, against the final combination of F\n" in text
    assert [text.count(f"step {step}\n") for step in (0, 3, 10, 32, 100)] == [2] * 5


def test_fronts_know_the_chosen_and_the_true(sweep: Sweep) -> None:
    first, second = pareto_fronts(sweep, sweep.cells[0])["message"]
    assert [point.chosen for point in first] == [False, False, True, False]
    assert [point.passes for point in second] == [False, False, True, True]
    assert first[2].expression == LAWS[0]
    assert not any(point.passes for point in pareto_fronts(sweep, sweep.cells[1])["message"][0])


@pytest.mark.slow
def test_the_picture_of_an_experiment(sweep: Sweep) -> None:
    experiment = sweep.experiments[0]
    draw_experiment(sweep, experiment)
    text = words(experiment.picture(sweep.results))
    assert "spring-2d-4b-s0: 9.9 units of time" in text
    assert "held-out simulation 2" in text
    assert "held-out simulation 3" not in text
    assert "x (dimensionless)" in text


def test_a_cell_that_diverged_gets_pictures_that_say_so(sweep: Sweep) -> None:
    cell = sweep.cells[2]
    draw_cell(sweep, cell)
    for name in ("messages", "front"):
        text = words(cell.picture(sweep.results, name))
        assert "diverged: the loss became NaN at step 12" in text
        assert str(cell) in text


def test_what_is_not_there_yet_is_an_error_in_one_line(sweep: Sweep, tmp_path: Path) -> None:
    cell = sweep.cells[3]
    with pytest.raises(DistilleryError, match=r"kl-s0: is not interpreted"):
        draw_picture(sweep, cell, "messages", tmp_path / "picture.svg")
    with pytest.raises(DistilleryError, match=r"kl-s0: has no Pareto front \(train: has not run\)"):
        draw_picture(sweep, cell, "front", tmp_path / "picture.svg")
    with pytest.raises(DistilleryError, match=r"picture.pdf: is no picture format.*\.svg or \.png"):
        draw_picture(sweep, sweep.cells[0], "front", tmp_path / "picture.pdf")
    assert not list(tmp_path.iterdir())


def test_damaged_messages_are_named(make_sweep: Any, tmp_path: Path) -> None:
    sweep = make_sweep()
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    path = messages(sweep, cell)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DistilleryError, match=r"messages.npz: damaged or missing.*interpret.json"):
        draw_picture(sweep, cell, "messages", tmp_path / "picture.svg")
    assert not (tmp_path / "picture.svg").exists()


@pytest.mark.slow
def test_the_same_data_give_the_same_bytes(sweep: Sweep, tmp_path: Path) -> None:
    cell = sweep.cells[0]
    for attempt in ("first", "second"):
        draw_picture(sweep, cell, "front", tmp_path / attempt / "front.svg")
        draw_picture(sweep, cell, "messages", tmp_path / attempt / "messages.png")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    assert len(list((tmp_path / "first").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["front", "messages"])
def test_dots_are_drawn_in_pixels_too(sweep: Sweep, tmp_path: Path, name: Any) -> None:
    draw_picture(sweep, sweep.cells[1], name, tmp_path / "picture.png")
    shown = imread(tmp_path / "picture.png")[..., :3]
    # Nothing but dots is coloured.
    assert (np.ptp(shown, axis=-1) > 0.3).sum() > 200


@pytest.mark.slow
def test_svgs_carry_no_date(sweep: Sweep, tmp_path: Path) -> None:
    draw_picture(sweep, sweep.cells[0], "front", tmp_path / "front.svg")
    assert not re.search(r"20\d\d-\d\d-\d\d|matplotlib v", (tmp_path / "front.svg").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_overview_shows_the_best_cell(sweep: Sweep, tmp_path: Path) -> None:
    assert best_record(sweep, sweep.cells).cell == str(sweep.cells[0])
    draw_overview(sweep, tmp_path / "overview.svg")
    text = words(tmp_path / "overview.svg")
    assert "message 2  =  2.1·Δy·(1 − 1/r) + 0.013" in text
    assert "verified: the law of spring" in text


def test_the_overview_prefers_what_is_recovered_and_needs_something(make_sweep: Any, tmp_path: Path) -> None:
    sweep = make_sweep(models=["standard", "bottleneck", "l1"])
    with pytest.raises(DistilleryError, match=r"no cell is finished yet"):
        draw_overview(sweep, tmp_path / "overview.svg")
    fabricate(sweep, sweep.cells[0])
    assert best_record(sweep, sweep.cells).cell == str(sweep.cells[0])
    for cell in sweep.cells:
        fabricate(sweep, cell)
    assert best_record(sweep, sweep.cells).cell == str(sweep.cells[1])


def test_expressions_are_typeset() -> None:
    assert typeset("-1.23456*dy*m1*m2/r**2 + 0.5*dz") == "−1.23·Δy·m1·m2/r^2 + 0.5·Δz"


@pytest.mark.slow
def test_drawing_does_not_import_torch() -> None:
    imports = "from distillery.workflow.stages import report"
    script = f"import sys; {imports}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"
