"""Test the first part of the page: by system the law that was found, the true one, and why other cells have none."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.physics import formula
from distillery.physics.systems import SYSTEMS, System
from distillery.report.cells import first_seeds
from distillery.report.html import identifier
from distillery.report.laws import WHY, row_laws, why_not
from distillery.report.page import page, page_markdown
from distillery.report.truth import true_law, truth
from distillery.workflow.config import parse_config
from distillery.workflow.report_inputs import read_shown, read_study
from distillery.workflow.stages.collect import collect
from distillery.workflow.sweep import Sweep
from support.fabricate import end, fabricate, messages
from support.pages import HOSTILE, TODAY, Parsed

OWN: dict[str, dict[str, Any]] = {
    "mine": {"potential": "k*r**3", "constants": {"k": 0.7}, "softening": 0.0, "time_step": 0.01},
    "falling": {
        "potential": "q1*q2*exp(-r/20)/r",
        "body_potential": "g*m*y + x**2*q",
        "constants": {"g": 9.81},
        "damping": 0.5,
        "time_step": 0.01,
    },
    "cases": {"potential": "(r - 1)**2 if r > 1 else 0.5*(r - 1)**2", "softening": 0.125, "time_step": 0.01},
    "weak": {"potential": "-G*m1*m2/r", "constants": {"G": 6.674e-11}, "time_step": 1.0},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return a collected sweep of a built-in and an own system; every model but standard recovers the law."""
    content = {
        "experiments": [{"system": "spring"}, {"system": "mine"}],
        "systems": OWN,
        "models": ["bottleneck", "standard", "l1"],
        "seeds": [0, 1],
    }
    made = Sweep(parse_config(content), tmp_path_factory.mktemp("laws") / "results")
    for cell in made.cells[:-1]:
        changes = {"reason": "component 0: not a force"} if cell.model == "standard" else {}
        fabricate(made, cell, verify=changes)
        messages(made, cell)
    end(made, made.cells[-1], "train", "diverged", HOSTILE)
    collect(made)
    return made


def written(sweep: Sweep, limit: int | None = None) -> tuple[str, str]:
    study = read_study([sweep.results])
    shown = read_shown(sweep, first_seeds(study.cells, 200 if limit is None else limit))
    return page(study, shown, {}, TODAY), page_markdown(study, shown, TODAY)


def opened(text: str) -> str:
    """Return the parts of a page that are shown before anything is unfolded."""
    folded = re.compile(r"<details(?![^>]* open)[^>]*>(?:(?!<details|</details>).)*</details>", re.DOTALL)
    while folded.search(text):
        text = folded.sub("", text)
    return text


@pytest.mark.slow
def test_the_page_opens_with_the_true_law_beside_the_one_found(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    # The built-in spring may differ from the one that the sweep was made with.
    monkeypatch.setitem(SYSTEMS, "spring", System(potential="r**8", time_step=1.0))
    text, in_markdown = written(sweep)
    shown = opened(text)
    sections = re.findall(r'<section class="law">.*?</section>', shown, re.DOTALL)
    spring, mine = sections
    assert [section.count("<math") for section in sections] == [3, 3]
    for words in ("true potential, rest_length = 1, r + 0.01 stands for r", "spring, 2D, 4 bodies"):
        assert words in spring
    # Both the true law and the found one are a = Σ Δ(-2 + 1.98/r)/m1.
    assert spring.count("<mn>1.98</mn>") == 2
    assert "k = 0.7" in mine
    assert "stands for r" not in mine
    assert "<mn>2.1</mn>" in mine
    assert shown.index("<section") < shown.index('id="cells"')
    # The law that was found comes first, and has a picture.
    for section in sections:
        assert section.index("found by") < section.index("true potential")
        assert section.count("<svg") == 1
    (line,) = [line for line in in_markdown.splitlines() if line.startswith("| mine, 2D, 4 bodies ")]
    assert "`U = k*r**3`; k = 0.7; so `a = Σ −2.1·r·Δ/m1`" in line
    assert "`a = Σ Δ·(−2 + 1.98/r)/m1`" in line


@pytest.mark.slow
def test_the_law_that_is_shown_is_a_recovered_one_with_its_error(sweep: Sweep) -> None:
    spring, mine = row_laws(read_study([sweep.results]))
    assert spring.best is not None
    assert (spring.best.cell.model, spring.best.cell.seed) == ("bottleneck", 0)
    assert spring.verdict == "recovered in 4 of 6 cells (bottleneck, l1), as force"
    assert mine.verdict == "recovered in 3 of 6 cells (bottleneck, l1), as force"
    assert spring.conditions == "holds under 8 of 8 conditions"
    error = 0.05 + 0.001 * [str(cell) for cell in sweep.cells].index(str(spring.best.cell))
    assert spring.error.startswith(f"{9e-4 * error / 2:.2g} of the law, {error / 2:.2g} of its network; standard dev")
    for law in (spring, mine):
        assert [found.cell.model for found in law.others] == ["standard"] * 2


@pytest.mark.slow
def test_where_nothing_was_recovered_the_page_says_why_and_gives_the_best_law(tmp_path: Path) -> None:
    content = {"experiments": [{"system": "spring"}], "models": ["standard", "control"], "seeds": [0]}
    made = Sweep(parse_config(content), tmp_path / "results")
    standard, control = made.cells
    fabricate(
        made, standard, verify={"reason": "component 1: off by <b>half</b>"}, replace={"reason": "a refit stopped"}
    )
    fabricate(made, control, verify={"recovered": False, "form": None, "reason": "no vector"})
    collect(made)
    text, in_markdown = written(made)
    shown = Parsed(opened(text)).text
    assert "recovered in 0 of 2 cells" in shown
    assert "✗ found by standard, seed 0" in shown
    assert f"{standard}: component 1: off by <b>half</b>; a refit stopped" in shown
    assert f"{control}: no vector; a control" in shown
    assert "component 1: off by \\<b>half\\</b>; a refit stopped" in in_markdown
    # The card of the cell has it too.
    card = text[text.index(f'id="{identifier(str(standard))}"') :]
    assert "why not: component 1: off by" in card[:2000]


def test_how_far_a_law_agrees_stands_with_its_verdict(sweep: Sweep) -> None:
    study = read_study([sweep.results])
    told = "agrees from 0.1 to 3, differs beyond r = <5>"
    cells = tuple(dataclasses.replace(found, values={**found.values, "extent": told}) for found in study.cells)
    known = dataclasses.replace(study, cells=cells)
    for text in (Parsed(page(known, [], {}, TODAY)).text, page_markdown(known, [], TODAY).replace("\\", "")):
        assert f"as force; {told}; holds under 8 of 8 conditions" in text


def test_reasons_of_several_columns_are_joined() -> None:
    assert why_not({WHY[0]: "one", WHY[1]: "another"}) == "one; another"
    assert why_not({WHY[0]: "one", WHY[1]: "one"}) == "one"
    assert why_not({WHY[1]: ""}) == why_not({}) == ""


@pytest.mark.slow
def test_seeds_have_marks_that_are_no_counts(sweep: Sweep) -> None:
    text, _ = written(sweep)
    start = text.index("A mark for each seed")
    table = text[start : text.index("</table>", start)]
    marks = re.findall(r"<(?:a|span) [^>]*>([^<]*)</(?:a|span)>", table[table.index("<tbody>") :])
    assert len(marks) == len(sweep.cells)
    assert set(marks) == {"✓ seed 0", "✓ seed 1", "✗ seed 0", "✗ seed 1", "diverged, seed 1"}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 6])
def test_the_numbers_of_a_page_agree(sweep: Sweep, limit: int | None) -> None:
    """Test that tiles, systems, experiments and table 5 have equal counts, however many cells are shown in full."""
    text, _ = written(sweep, limit)
    told = Parsed(text).text
    assert "7 of 12recovered" in told
    of_systems = [int(count) for count in re.findall(r"recovered in (\d+) of 6 cells", opened(text))]
    assert sum(of_systems) == 7
    for recovered, name in zip(of_systems, ("spring", "mine"), strict=True):
        assert f"{name}-2d-4b-s0 {recovered} of 6 cells recovered" in told
    table = text[text.index("Table 5: is the law recovered?") :]
    last = table[table.index('<th scope="row">all</th>') : table.index("</table>")]
    assert sum(int(count) for count in re.findall(r"<td>(\d+)/4", last)) == 7


def test_a_store_of_an_earlier_version_says_that_the_true_law_is_not_in_it(sweep: Sweep) -> None:
    study = read_study([sweep.results])
    before = dataclasses.replace(study, stores=tuple(dataclasses.replace(s, systems={}) for s in study.stores))
    assert [law.true for law in row_laws(before)] == [None, None]
    text = page(before, [], {}, TODAY)
    assert text.count("the true law is not in this store; collect it again") == 2


@pytest.mark.parametrize("name", [*SYSTEMS, *OWN])
@pytest.mark.parametrize("dim", [2, 3])
def test_the_true_law_gives_the_accelerations_of_its_system(name: str, dim: int) -> None:
    system = SYSTEMS.get(name) or System(**OWN[name])
    bodies = 5
    law = true_law(system, dim, bodies)
    random = np.random.default_rng(3)
    mass, charge = np.exp(random.normal(size=(2, 50))), random.choice([-1.0, 1.0], size=(2, 50))
    delta = random.normal(scale=1.5, size=(50, dim))
    axes = "xyz"[:dim]
    edge = {"r": np.linalg.norm(delta, axis=1), **{f"d{axis}": delta[:, k] for k, axis in enumerate(axes)}}
    edge |= {f"{kind}{k + 1}": values[k] for kind, values in (("m", mass), ("q", charge)) for k in (0, 1)}
    force = system.pair_force(delta, (mass[0], mass[1]), (charge[0], charge[1]))
    for k, expression in enumerate(law.messages):
        np.testing.assert_allclose(formula.evaluate(expression, edge), force[:, k] / mass[0], rtol=1e-9, atol=1e-12)
    place, velocity = random.normal(scale=4.0, size=(2, dim, 50))
    place[1:2] -= 8 * (name == "string_ball")
    node = {"m": mass[0], "q": charge[0], **{f"s{k + 1}": np.zeros(50) for k in range(dim)}}
    node |= {
        name: values for k, axis in enumerate(axes) for name, values in ((axis, place[k]), (f"v{axis}", velocity[k]))
    }

    def potential(at: np.ndarray) -> np.ndarray:
        known = {**system.parameters, "m": mass[0], "q": charge[0], "z": np.zeros(50)}
        known |= {axis: at[k] for k, axis in enumerate(axes)}
        return np.broadcast_to(formula.evaluate(system.external_potential, known), (50,))

    for k, expression in enumerate(law.nodes):
        step = np.zeros((dim, 1))
        step[k] = 1e-6
        slope = (potential(place + step) - potential(place - step)) / 2e-6
        wanted = (-slope - system.damping * (bodies - 1) / bodies * velocity[k]) / mass[0]
        found = np.broadcast_to(formula.evaluate(expression, node), (50,))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * (1 + np.abs(wanted).max()))


@pytest.mark.parametrize(
    "definition",
    [
        {"potential": "r**", "time_step": 1.0},
        {"potential": "newfunction(r)", "constants": {"k": "text"}, "softening": [1]},
        {"potential": "r**2", "time_step": 1.0, "a_later_setting": 3},
        {},
    ],
)
def test_a_definition_that_cannot_be_read_is_still_shown(definition: dict[str, Any]) -> None:
    found = truth(definition, 2, 4)
    assert found.law == ""
    assert found.potentials["U"] == definition.get("potential", "")
