"""Halos in the report and its pictures: the paper's messages beside ours, components by both readings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.report.halo_kept import draw_kept, kept_caption, kept_errors
from distillery.report.halo_kernel import caption, draw_kernel, edge, paper_kernels
from distillery.report.style import look
from distillery.report.svg import drawing
from distillery.results.columns import CELLS
from distillery.results.query import query
from distillery.workflow import rules as workflow
from distillery.workflow.cell import Cell
from distillery.workflow.config import parse_config
from distillery.workflow.outcome import write_outcome
from distillery.workflow.record import read_record
from distillery.workflow.stages.collect import collect
from distillery.workflow.stages.report import draw_experiment, draw_overview, draw_picture
from distillery.workflow.sweep import Sweep

R = np.linspace(0.5, 49.5, 50)
SETTINGS: dict[str, Any] = {
    "universe": {"particles": 64, "box": 125.0},
    "validation": 0.0,
    "models": ["formula-with-mass", "network-with-mass"],
}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(parse_config({"halos": [SETTINGS]}), tmp_path)


def cell_of(sweep: Sweep, model: str) -> Cell:
    return next(cell for cell in sweep.cells if cell.model == model)


def kernel() -> dict[str, list[float]]:
    return {"r": R.tolist(), "value": (1 / (1 + (R / 20) ** 9)).tolist()}


def interpreted(sweep: Sweep, cell: Cell, **result: Any) -> None:
    """Write what interpreting a cell leaves."""
    messages = cell.messages(sweep.results)
    messages.parent.mkdir(parents=True, exist_ok=True)
    np.savez(messages, true=np.linspace(-0.5, 1.0, 30), predicted=np.linspace(-0.4, 0.9, 30))
    found = {"test_mae": 0.05, "kernel": kernel(), "kept": [], **result}
    path, key = cell.outcome(sweep.results, "interpret"), sweep.key("interpret", cell)
    write_outcome(path, key=key, started=time.monotonic(), result=found, belongings=(messages,))


# The paper's messages


def test_the_papers_messages_fall_near_the_radius_of_its_filter() -> None:
    for name in ("with mass", "without mass"):
        assert edge(name) == pytest.approx(20.5, abs=0.1)
        (place,) = np.array([edge(name)])
        near, half = (paper_kernels(np.array([r]), np.array([1.0]))[name] for r in (1.0, place))
        # A single distance is met exactly, whatever the scale.
        assert near == half == pytest.approx(1.0)
        curve = paper_kernels(np.array([1.0, place]), np.array([2.0, 1.0]))[name]
        assert curve == pytest.approx([2.0, 1.0], rel=1e-6)


def test_the_papers_messages_are_scaled_to_ours_and_keep_their_shape() -> None:
    value = -0.7 / (1 + (R / 20) ** 9) + 0.05 * np.sin(R)
    for curve in paper_kernels(R, value).values():
        # What least squares leave is orthogonal to the curve.
        assert (value - curve) @ curve == pytest.approx(0.0, abs=1e-12)
        assert curve[0] < 0
        assert abs(curve[-1]) < 1e-3 * abs(curve[0])


def test_the_page_shows_the_papers_messages_with_a_legend_and_says_how_they_are_scaled() -> None:
    with look():
        shown = drawing("kernel", lambda axes: draw_kernel(axes, kernel()))
    # The curves of the paper are broken, in the panel and in the legend.
    assert shown.count("stroke-dasharray") == 4
    for words in ("paper, with mass", "paper, without mass", "this cell"):
        assert words in shown
    assert all(words in caption() for words in ("least squares", "20.5 Mpc/h"))
    assert "no unit of length" in caption()


def test_the_picture_of_a_cell_shows_them_too(sweep: Sweep) -> None:
    cell = cell_of(sweep, "formula-with-mass")
    interpreted(sweep, cell)
    path = sweep.results / "messages.svg"
    draw_picture(sweep, cell, "messages", path)
    text = path.read_text(encoding="utf-8")
    assert all(words in text for words in ("paper, with mass", "paper, without mass", "this cell", "scaled to it"))


# Few components

KEPT = [{"components": 1, "mae": 0.09}, {"components": 2, "mae": 0.07}, {"components": 4, "mae": 0.06}]
FOUND: dict[str, Any] = {
    **{"test_medae": 0.04, "label_std": 0.4, "message_std": [0.1, 0.2, 0.0, 0.0], "fits": {}},
    **{"reading": "principal", "kept": KEPT},
}
BOTH = {"kept_std": [0.15, 0.12], "kept_principal": [0.09, 0.07]}


def test_both_readings_are_shown_and_called_by_their_names() -> None:
    shown = kept_caption({**FOUND, **BOTH})
    assert "the component of largest std alone 0.15" in shown
    assert "the strongest principal axis alone 0.09" in shown
    assert "all 4 0.06" in shown
    assert "distilled is the strongest axis" in shown
    with look():
        drawn = drawing("kept", lambda axes: draw_kept(axes, {**FOUND, **BOTH}))
    assert all(words in drawn for words in ("by std", "principal axes"))


def test_results_with_one_reading_are_called_by_its_name() -> None:
    assert {name: own.tolist() for name, own in kept_errors(FOUND).items()} == {"principal": [0.09, 0.07]}
    shown = kept_caption(FOUND)
    assert "the strongest principal axis alone 0.09" in shown
    assert "largest std" not in shown
    assert kept_errors({**FOUND, "reading": "", "kept": []}) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "std", "principal"),
    [({**FOUND, **BOTH}, [0.15, 0.12], [0.09, 0.07]), (FOUND, None, [0.09, 0.07])],
)
def test_errors_with_few_components_are_kept_in_the_store(
    sweep: Sweep, found: dict[str, Any], std: list[float] | None, principal: list[float]
) -> None:
    cell = cell_of(sweep, "network-with-mass")
    interpreted(sweep, cell, **found)
    assert read_record(sweep, cell, {}).values["kept_all"] == 0.06
    collect(sweep)
    names = ["kept_std", "kept_principal", "kept_all"]
    assert set(names) <= {column.name for column in CELLS}
    where = ["model=network-with-mass"]
    ((one, other, whole),) = query(sweep.results, where=where, columns=names).rows
    assert (one or None, other, whole) == (std, principal, 0.06)
    asked = "select kept_principal[1] from cells where model = 'network-with-mass'"
    assert query(sweep.results, sql=asked).rows[0][0] == 0.09


# Captions of the workflow's own report

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("messages", "predicted against true overdensities"),
        ("trajectories", "coloured by the overdensity"),
        ("front", "overdensity from the messages"),
        ("workflow", "formulas are judged by their errors"),
    ],
)
def test_captions_are_true_of_halos_too(name: str, words: str) -> None:
    text = " ".join((CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").split())
    assert words in text
    # What is true of bodies alone says so before.
    for other in ("dimensionless", "force components"):
        assert "Bodies: " in text.partition(other)[0] or other not in text


def test_pictures_of_halos_are_not_filed_under_trajectories(sweep: Sweep) -> None:
    (experiment,) = sweep.experiments
    assert workflow.category(sweep, str(experiment)) == "Halos"
    bodies = parse_config({"experiments": [{"system": "spring", "bodies": 4}], "models": ["l1"]})
    other = Sweep(bodies, sweep.results)
    assert workflow.category(other, str(other.experiments[0])) == "Trajectories"


# What halos have not


def test_halos_have_no_overview(sweep: Sweep) -> None:
    for chosen in (cell_of(sweep, "network-with-mass"), None):
        with pytest.raises(DistilleryError, match=r"is of halos, which have no overview; "):
            draw_overview(sweep, sweep.results / "o.svg", chosen)


def test_the_map_of_a_catalogue_asks_for_nothing_that_is_refused(tmp_path: Path) -> None:
    own = {"catalogue": {"groups": "g", "matter": "m"}, "test_realisations": 0, "other_cosmology": None}
    read = Sweep(parse_config({"halos": [{**own, "models": ["constant"]}]}), tmp_path)
    draw_experiment(read, read.experiments[0])
    text = read.experiments[0].picture(read.results).read_text(encoding="utf-8")
    assert "a catalogue is one universe" in text
    assert "test_realisations" not in text
