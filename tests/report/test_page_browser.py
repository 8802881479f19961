"""Test the report in a browser, on a phone and on a desktop, in light and dark."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from distillery.networks.models import MODELS
from distillery.report.html import identifier
from distillery.workflow.stages.report import report
from support import browser, sweeps
from support.fabricate import STEPS
from support.pages import made

pytestmark = [pytest.mark.slow, pytest.mark.browser]
# Nothing may be wider than the window, also when everything is unfolded.
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    filmed = {"frames": 5, "filmed": ["*/bottleneck-s0", "*/flathgn-s0"]}
    sweep = made(tmp_path_factory.mktemp("browser") / "results", seeds=[0, 1], training=filmed)
    return report(sweep.results)[0]


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1200, 900)])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_its_window_and_is_not_blank(written: Path, width: int, height: int, dark: bool) -> None:
    with browser.running() as page:
        page.open(written, width, height, dark=dark)
        assert page.value("innerWidth") == width
        assert page.value(OVERFLOW) == 0
        shown = imread(io.BytesIO(page.picture()))[..., :3]
        assert shown.shape[:2] == (height, width)
        assert shown.std() > 0.05
        assert (np.median(shown) < 0.3) == dark
        page.value(UNFOLD)
        assert page.value(OVERFLOW) == 0
        assert page.value("document.querySelector('math').getBoundingClientRect().height") > 15
        assert page.errors == []


# Number of tables wider than their boxes, and visibility of the formulas of the laws.
HIDDEN = """[...document.querySelectorAll('.scroll')].filter(
    (one) => one.scrollWidth > one.clientWidth && one.querySelector('table')).length"""
FORMULAS = """[...document.querySelectorAll('.law math')].map(one => {
    const box = one.getBoundingClientRect();
    return one.checkVisibility() && box.width > 20 && box.right <= innerWidth && box.left >= 0;
})"""


@pytest.mark.parametrize("width", [390, 1280])
def test_laws_are_seen_at_once_and_nothing_of_a_table_lies_outside(tmp_path: Path, width: int) -> None:
    """Test tables of all built-in models and conditions; on a phone they scroll in their boxes."""
    sweep = made(tmp_path / "results", models=list(MODELS), experiments=[{"system": "spring"}, {"system": "charge"}])
    with browser.running() as page:
        page.open(report(sweep.results)[0], width, 900)
        formulas = page.value(FORMULAS)
        assert len(formulas) == 2 * 3
        assert all(formulas)
        assert page.value("document.querySelector('.law math').getBoundingClientRect().top") < 900
        page.value(UNFOLD)
        assert page.value(OVERFLOW) == 0
        assert (page.value(HIDDEN) == 0) == (width == 1280)
        assert page.errors == []


def test_a_link_unfolds_its_cell_and_leads_there(written: Path) -> None:
    cell = "spring-2d-4b-s0/flathgn-s1"
    with browser.running() as page:
        page.open(written, 390, 844)
        found = f"document.getElementById('{identifier(cell)}')"
        assert page.value(f"{found}.checkVisibility()") is False
        page.value(f"document.querySelector('a[href$=\"{identifier(cell)}\"]').click()")
        settled = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        page.value(settled)
        top, height = page.value(f"(r => [r.top, r.height])({found}.getBoundingClientRect())")
        assert page.value(f"{found}.checkVisibility()") is True
        assert height > 200
        assert 0 <= top < 844
        assert page.errors == []


# A film and its parts, used in the expressions below.
FILM = """
    const film = document.querySelector(".film"), range = film.querySelector("input");
    const button = film.querySelector("button"), dots = film.querySelector(".dots[data-x]");
    const heights = () => [...dots.getAttribute("d").matchAll(/M(\\d+) (\\d+)h0/g)].map((found) => Number(found[2]));
    const tall = () => Math.max(...heights()) - Math.min(...heights());
"""


def test_the_slider_of_a_film_moves_its_dots(written: Path) -> None:
    with browser.running() as page:
        page.open(written, 390, 844)
        page.value(UNFOLD)
        assert page.value(OVERFLOW) == 0
        assert page.value("document.querySelectorAll('.film').length") == 2
        slide = "((at) => {" + FILM + "range.value = at; range.dispatchEvent(new Event('input'));"
        seen = [
            page.value(f"{slide} return [tall(), film.querySelector('.reel span').textContent]; }})({k})")
            for k in range(5)
        ]
        tall = [height for height, _ in seen]
        assert tall[0] == 0
        assert tall == sorted(tall)
        assert tall[4] > 100
        assert [words.split(":")[0] for _, words in seen] == [f"step {step}" for step in STEPS]
        # Other films stay where they are.
        assert page.value("document.querySelectorAll('.film input')[1].value") == "4"
        box = "(r => [r.width, r.right])(document.querySelector('.reel input').getBoundingClientRect())"
        width, right = page.value(box)
        assert width > 120
        assert right <= 390
        assert page.errors == []


def test_a_film_plays_to_its_end_and_can_be_paused(written: Path) -> None:
    with browser.running() as page:
        page.open(written, 390, 844)
        page.value(UNFOLD)
        shown = page.value(
            "(() => {" + FILM + "return [button.checkVisibility(), button.textContent, range.value]; })()"
        )
        assert shown == [True, "play", "4"]
        # From the end it starts again, at once.
        begun = "(() => {" + FILM + "button.click(); return [button.textContent, range.value, tall()]; })()"
        assert page.value(begun) == ["pause", "0", 0]
        paused = "(() => {" + FILM + "button.click(); return button.textContent; })()"
        assert page.value(paused) == "play"
        frames = page.value(
            "new Promise((done) => {"
            + FILM
            + """
                range.value = 1; button.click();
                const seen = [];
                new MutationObserver(() => {
                    seen.push([range.value, button.textContent, tall()]);
                    if (range.value === "4") setTimeout(() => done([seen, button.textContent]));
                }).observe(dots, { attributes: true });
            })"""
        )
        seen, ended = frames
        assert ended == "play"
        assert [value for value, _, _ in seen] == sorted(value for value, _, _ in seen)
        assert seen[-1][0] == "4"
        assert [tall for _, _, tall in seen] == sorted(tall for _, _, tall in seen)
        assert page.errors == []


def test_who_wants_nothing_to_move_gets_the_slider_alone(written: Path) -> None:
    with browser.running() as page:
        page.open(written, 390, 844)
        page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        page.value(UNFOLD)
        shown = "(() => {" + FILM + "return [button.checkVisibility(), range.checkVisibility()]; })()"
        assert page.value(shown) == [False, True]


def test_without_a_script_a_film_is_its_last_frame(written: Path) -> None:
    with browser.running() as page:
        page.ask("Emulation.setScriptExecutionDisabled", value=True)
        page.open(written, 390, 844)
        page.value(UNFOLD)
        shown = "(() => {" + FILM + "return [range.checkVisibility(), heights().length > 50, tall() > 100]; })()"
        assert page.value(shown) == [False, True, True]


def test_a_script_that_came_in_would_not_run(written: Path, tmp_path: Path) -> None:
    """Test the content security policy of the page, which holds even if escaping failed."""
    broken = tmp_path / "report.html"
    broken.write_text(written.read_text("utf-8").replace("<h1>", "<script>window.came = 1</script><h1>"), "utf-8")
    with browser.running() as page:
        page.open(broken, 390, 844)
        assert page.value("window.came === undefined")
        assert any("Content Security Policy" in error for error in page.errors)


@pytest.mark.workflow
def test_the_page_of_a_real_sweep(tiny: tuple[Path, Path]) -> None:
    folder, _ = tiny
    with browser.running() as page:
        page.open(folder / "results" / "report.html", 390, 844)
        page.value(UNFOLD)
        assert page.value(OVERFLOW) == 0
        assert page.value("document.querySelectorAll('svg').length") >= 4
        assert page.errors == []
    assert sweeps.TINY["models"][0] in (folder / "results" / "report.md").read_text("utf-8")
