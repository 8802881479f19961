"""The report as a browser shows it, on a phone and on a desk, in light and dark."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import browser
import sweeps
from distillery.report.html import identifier
from distillery.report.run import report
from test_page import made

pytestmark = [pytest.mark.slow, pytest.mark.browser]
# Also with everything unfolded, nothing may stick out.
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = made(tmp_path_factory.mktemp("browser") / "results", seeds=[0, 1])
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


def test_a_script_that_came_in_would_not_run(written: Path, tmp_path: Path) -> None:
    """Should escaping ever fail, the page's own policy still refuses."""
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
