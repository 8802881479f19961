"""Test the report of a sweep: one small page in which nothing from a store becomes markup, and the same in Markdown."""

from __future__ import annotations

import dataclasses
import re
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from distillery import files
from distillery.data.trajectories import Trajectories
from distillery.errors import DistilleryError
from distillery.laws.law import Law, as_content
from distillery.physics.formula import symbol
from distillery.report import law
from distillery.report.cells import Details, Found, first_seeds
from distillery.report.document import Bullets, Grid, Heading, Paragraph, code, markdown, plain
from distillery.report.evidence import measured, origin_of
from distillery.report.front import Point, draw_front
from distillery.report.html import blocks_html, identifier, inline
from distillery.report.mathml import equation
from distillery.report.page import page, page_markdown
from distillery.report.study import Store, Study
from distillery.report.style import BLUE, add_dots, look
from distillery.report.svg import drawing, pixels
from distillery.report.tables import table_5
from distillery.workflow import report_details
from distillery.workflow.cell import Cell
from distillery.workflow.cli import main
from distillery.workflow.config import parse_config
from distillery.workflow.report_inputs import cell_name, read_shown, read_study, simulations_of
from distillery.workflow.stages.collect import collect
from distillery.workflow.stages.report import report
from distillery.workflow.sweep import Sweep
from support.fabricate import LAWS, fabricate, replaced
from support.pages import HOSTILE, TODAY, Parsed, made


@pytest.fixture(autouse=True)
def _trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    time = np.linspace(0, 9.9, 20)
    phase = time[None, :, None, None] + np.arange(4)[None, None, :, None] + np.array([0.0, np.pi / 2])
    paths = np.repeat(np.cos(phase), 5, axis=0)
    found = Trajectories(paths, time, paths, paths, np.ones((5, 4)), np.ones((5, 4)))
    monkeypatch.setattr(report_details, "read_trajectories", lambda *_: found)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return made(tmp_path_factory.mktemp("page") / "results")


def written(sweep: Sweep, limit: int | None = None) -> tuple[str, str]:
    """Return the page and its Markdown."""
    study = read_study([sweep.results])
    shown = read_shown(sweep, first_seeds(study.cells, 200 if limit is None else limit))
    return page(study, shown, simulations_of(sweep, shown), TODAY), page_markdown(study, shown, TODAY)


@pytest.mark.slow
def test_the_page_shows_what_was_found(sweep: Sweep) -> None:
    text, _ = written(sweep)
    found = Parsed(text)
    for told in ("2020-06-19", sweep.config_hash, "Table 1: do messages carry the force?", "1/1 force"):
        assert told in found.text
    for words in ("message 1 against F: R² 0.990, robust", "force of the energy 1 against F", "ring: the choice"):
        assert words in found.text
    # Errors by condition, two messages, one spectrum, fronts of two messages and two nodes, and
    # paths: true, by the network and by the law.
    first = text[text.index(f'<div id="{sweep.cells[0]}">') : text.index(f'<div id="{sweep.cells[1]}">')]
    assert first.count("<svg") == 1 + 2 + 1 + 4 + 3
    assert text.count("held-out simulation 2") == 2
    # Four expressions, and the law in its clean and refitted form.
    assert first.count("<math") == 4 + 2
    assert f"{LAWS[0][:3]}" in first
    assert len(first) < 100_000


def moved(path: dict[str, str], at: int) -> list[tuple[int, int]]:
    """Return the positions of the points of a path in a frame, as the script of the page reads them."""

    def places(text: str) -> list[int]:
        frames = text.split(" ")
        return [-1 if two == ".." else int(two, 36) for two in re.findall("..", frames[at % len(frames)])]

    both = zip(places(path["data-x"]), places(path["data-y"]), strict=True)
    return [place for place in both if -1 not in place]


def drawn_at(path: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in re.findall(r"M(\d+) (\d+)h0", path)]


@pytest.mark.slow
def test_a_training_that_was_filmed_is_shown_as_a_film(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results", training={"frames": 5, "filmed": ["*/bottleneck-s0"]})
    text, _ = written(sweep)
    harmless(text)
    parsed = Parsed(text)
    (told,) = parsed.having("data-moments")
    assert told.split("|") == [
        "step 0: R² 0.002, 0.002",
        "step 3: R² 0.101, 0.101",
        "step 10: R² 0.398, 0.398",
        "step 32: R² 0.893, 0.893",
        "step 100: R² 0.992, 0.992",
    ]
    start = text.index('<div class="film"')
    film = text[start : text.index("<dl>", start)]
    paths = [dict(re.findall(r'([\w-]+)="([^"]*)"', path)) for path in re.findall(r"<path [^>]*data-x[^>]*>", film)]
    assert [path["class"] for path in paths] == ["dots", "dots", "end", "end"]
    for path in paths:
        # The last frame is drawn, for browsers without scripts.
        assert drawn_at(path["d"]) == moved(path, 4)
    for path in paths[:2]:
        heights = [np.array([b for _, b in moved(path, at)]) for at in range(5)]
        assert len(heights[0]) > 100
        assert np.ptp(heights[0]) == 0
        assert np.ptp(heights[1]) < np.ptp(heights[2]) < np.ptp(heights[4])
        assert " " not in path["data-x"]
    # A logarithmic axis has no step 0; after it, the dots of the curves move right and up.
    track = [moved(paths[2], at) for at in range(5)]
    assert track[0] == []
    across, up = np.array([place for (place,) in track[1:]]).T
    assert np.all(np.diff(across) > 0)
    assert np.all(np.diff(up) < 0)
    assert len(film) < 20_000
    assert 'class="reel" hidden' in film


def test_pages_without_films_say_nothing_of_them(sweep: Sweep) -> None:
    assert not Parsed(written(sweep)[0]).having("data-moments")


@pytest.mark.slow
def test_damaged_frames_leave_a_note_in_place_of_messages(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results", models=["bottleneck", "l1"], training={"frames": 5})
    path = sweep.cells[0].messages(sweep.results)
    with np.load(path) as stored:
        content = dict(stored)
    np.savez(path, **{**content, "frames": content["frames"][:3]})
    found = Parsed(written(sweep)[0])
    assert "damaged or missing (frames of shape (3, 120, 2) for 5 steps)" in found.text
    assert not found.having("data-moments")


def test_a_page_needs_nothing_beside_it(sweep: Sweep) -> None:
    found = Parsed(written(sweep)[0])
    assert not found.having("src")
    assert {link for link in found.having("href") if not link.startswith("#")} == {"https://arxiv.org/abs/2006.11287"}
    style = resources.files("distillery.report").joinpath("page.css").read_text("utf-8")
    assert not re.search(r"url\(|@import", style)
    assert not found.tags["link"]


@pytest.mark.slow
def test_errors_are_means_with_their_medians_and_data_selected_by_fate_are_told(sweep: Sweep) -> None:
    study = read_study([sweep.results])
    shown = read_shown(sweep, first_seeds(study.cells, 200))
    (experiment,) = sweep.experiments
    many = 0.02 * sweep.simulations(experiment, "train")
    cells = tuple(dataclasses.replace(found, values={**found.values, "redraws_train": many}) for found in study.cells)
    selected = dataclasses.replace(study, cells=cells)
    texts = (page(selected, shown, {}, TODAY), page_markdown(selected, shown, TODAY))
    for text, heading in zip(texts, ("Cells</h2>", "## Cells"), strict=True):
        assert f"{experiment}: {many:,.0f} for " in text
        assert text.index("training simulations (2 %)") < text.index(heading)
    whole, in_markdown = page(study, shown, {}, TODAY), page_markdown(study, shown, TODAY)
    assert "Selected data" not in whole + in_markdown
    assert "test error 0.05 (median 0.025)" in whole
    lines = in_markdown.splitlines()
    first = next(line for line in lines if line.startswith(f"| {sweep.cells[0]} "))
    assert first.split("|")[3].strip() == "0.05 (0.025)"


def test_links_lead_to_cells(sweep: Sweep) -> None:
    found = Parsed(written(sweep)[0])
    ids = found.having("id")
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in found.having("href") if link.startswith("#")]
    assert set(targets) <= set(ids)
    assert {identifier(str(cell)) for cell in sweep.cells[:-1]} <= set(targets)


def harmless(text: str) -> None:
    """Assert that a page has only elements and attributes of the templates."""
    found = Parsed(text)
    assert found.tags["script"] == 1
    assert found.scripts == [resources.files("distillery.report").joinpath("page.js").read_text("utf-8")]
    assert not found.tags.keys() & {"img", "iframe", "object", "embed", "link", "base", "form", "b1"}
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert not [value for value in found.having("href") if not value.startswith(("#", "https://arxiv.org/"))]


@pytest.mark.slow
def test_nothing_from_a_store_becomes_markup(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results")
    cell = sweep.cells[0]
    front = [{"expression": HOSTILE, "complexity": 1, "mae": 0.5, "score": 0.0}]
    fits = [
        {"component": k, "status": "ok", "reason": "", "fit": "", "seconds": 1.0, "chosen": 0, "front": front}
        for k in range(2)
    ]
    verdicts = [
        {
            "component": k,
            "recovered": True,
            "form": HOSTILE,
            "expression": HOSTILE,
            "complexity": 1,
            "median_residual": 0.1,
            "p90_residual": 0.1,
            "constants": {HOSTILE: 1.0},
            "others": [],
        }
        for k in range(2)
    ]
    fabricate(
        sweep,
        cell,
        interpret={"reading": HOSTILE},
        distill={"components": fits, "node": fits, "reading": HOSTILE},
        verify={"components": verdicts, "form": HOSTILE},
    )
    collect(sweep)
    text, in_markdown = written(sweep)
    harmless(text)
    assert Parsed(text).text.count("<script>alert(1)</script>") >= 4  # it is shown, as text
    outside_of_code = re.sub(r"`[^`]*`", "", in_markdown.replace("\\`", ""))
    assert not re.search(r"(?<!\\)<(script|img|/)", outside_of_code)
    assert "](javascript:" not in re.sub(r"\\\[c\\\]", "", outside_of_code)


def test_names_of_systems_and_models_become_no_markup(sweep: Sweep) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    values = {"status": "ok", "reason": "", "recovered": 1.0, "form": hostile, "equation": [hostile], "fit": ["ok"]}
    cells = (
        Found(cell_name(Cell.parse(f"{hostile}-2d-4b-s0/{hostile}-s0")), values, Path(hostile)),
        Found(cell_name(Cell.parse(f"{hostile}-2d-4b-s0/l1-s0")), {**values, "status": hostile}, Path(hostile)),
    )
    system = {"potential": hostile, "body_potential": hostile, "constants": {hostile: hostile}, "softening": hostile}
    store = Store(Path(hostile), {"seeds": [hostile]}, hostile, hostile, {hostile: 2}, (hostile,), {hostile: system})
    study = Study((store,), cells)
    text = page(study, [], {}, TODAY)
    harmless(text)
    assert hostile in Parsed(text).text
    outside_of_code = re.sub(r"`[^`]*`", "", page_markdown(study, [], TODAY))
    assert not re.search(r"(?<!\\)<img", outside_of_code)


@pytest.mark.slow
def test_a_page_of_many_cells_shows_the_first_seeds_and_says_so(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results", models=["l1", "control"], seeds=[0, 1, 2])
    text, in_markdown = written(sweep, limit=3)
    shown = [name for name in Parsed(text).having("id") if "/" in name]
    assert shown == [f"spring-2d-4b-s0/{member}" for member in ("l1-s0", "l1-s1", "control-s0")]
    for said in (Parsed(text).text, in_markdown):
        assert "3 cells of the 5 that are finished are shown in full" in said
    assert "distillery report --cells 5" in in_markdown


@pytest.mark.slow
def test_a_store_without_what_lies_beside_it_is_still_reported(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results")
    for cell in sweep.cells:
        cell.messages(sweep.results).unlink(missing_ok=True)
    text, _ = written(sweep)
    assert "messages.npz: damaged or missing" in Parsed(text).text
    assert "Pareto front" in text


def test_markdown_and_html_come_from_one_source(sweep: Sweep) -> None:
    text, in_markdown = written(sweep)
    blocks = table_5(read_study([sweep.results]))
    assert markdown(blocks) in in_markdown
    words = Parsed(text).words
    for block in blocks:
        if isinstance(block, Grid):
            assert {cell for row in block.rows for cell in row if "`" not in cell} <= {*words, ""}


def test_marks_become_elements_and_plain_texts_do_not() -> None:
    blocks = [Heading(2, "A"), Paragraph(f"**{code('x')}** [y](https://z.org)"), Bullets((plain("*a* <b> `c`"),))]
    assert blocks_html(blocks).strip() == (
        '<h2>A</h2>\n<p><strong><code>x</code></strong> <a href="https://z.org">y</a></p>\n'
        "<ul><li>*a* &lt;b&gt; `c`</li></ul>"
    )
    assert markdown(blocks).splitlines()[-1] == r"- \*a\* \<b> \`c\`"
    assert inline("[y](javascript:z)") == "[y](javascript:z)"
    assert plain("r^-1 string_ball < -1\n2") == r"r^-1 string_ball \< -1 2"


def flat(text: str) -> str:
    """Return MathML as one line: fractions as (a)/(b), powers as a^b, indices as a_b."""

    def walk(node: ElementTree.Element) -> str:
        inner = [walk(child) for child in node]
        match node.tag:
            case "mfrac":
                return f"({inner[0]})/({inner[1]})"
            case "msup":
                return f"{inner[0]}^{inner[1]}"
            case "msub":
                return f"{inner[0]}_{inner[1]}"
            case "msqrt":
                return f"√({''.join(inner)})"
            case "mspace":
                return " "
            case "mtr":
                return " ".join(inner) + ";"
        return (node.text or "") + "".join(inner)

    return walk(ElementTree.fromstring(text))


@pytest.mark.parametrize(
    ("text", "typeset"),
    [
        ("dx*(-2.6112 + 2.58/r)", "s_1=Δx (−2.61+(2.58)/(r))"),
        ("-1.68*dx*m2/r**2", "s_1=−(1.68 Δx m_2)/(r^2)"),
        ("0.5*(px - 1)**2/m", "s_1=(0.5 (p_x−1)^2)/(m)"),
        ("m1*log(r) - sqrt(r)", "s_1=m_1 log(r)−√(r)"),
        ("exp(-r/2)*q1", "s_1=(q_1)/(e^(r)/(2))"),
        ("2 if r > 2 else -dx", "s_1={2 if r>2;−Δx otherwise;"),
        ("1.5e-7*r", "s_1=1.5·10^−7 r"),
        ("2.0*3.0**r", "s_1=2·3^r"),
        ("abs(dx)", "s_1=|Δx|"),
        ("1/(dx + r)", "s_1=(1)/(Δx+r)"),
        ("r*(dx + 1)/(r - 2)", "s_1=(r (Δx+1))/(r−2)"),
        ("-(r - 1)*q1", "s_1=q_1 (1−r)"),
        ("-2*dx + 98765.0*r", "s_1=−2 Δx+9.88·10^4 r"),
    ],
)
def test_expressions_are_typeset(text: str, typeset: str) -> None:
    names = ("dx", "r", "m", "m1", "m2", "q1", "px")
    assert flat(equation("s1", text, names)) == typeset


def test_what_is_no_expression_is_not_typeset() -> None:
    with pytest.raises(DistilleryError, match="unknown symbol"):
        equation("s1", "dx*evil", ("dx",))


def test_drawings_are_small_and_take_the_colours_of_the_page() -> None:
    """Test that points are one path, and that ids, fonts and fixed colours of Matplotlib are removed."""
    places = []

    def draw(axes: Any) -> dict[str, dict[str, str]]:
        axes.set_yscale("log")
        axes.set(xlim=(0.0, 1.0), ylim=(1e-3, 1.0), xlabel="x", ylabel="<y>")
        add_dots(axes, [0.5, np.nan], [0.1, 0.1], BLUE, 3.0, gid="dots")
        axes.set(xlim=(0.0, 1.0), ylim=(1e-3, 1.0))
        places.append(pixels(axes, np.array([0.5, 9.0]), np.array([0.1, 0.1])))
        return {"dots": {"class": "dots", "title": HOSTILE}}

    with look():
        text = drawing(HOSTILE, draw)
    parsed = Parsed(text)
    assert text.count("h0") == 1
    assert not re.search(r" id=|font-family|#[0-9a-f]{6}|xlink", text)
    assert {"0.001", "0.01", "0.1", "1", "<y>", HOSTILE} <= set(parsed.words)
    assert not parsed.tags.keys() & {"script", "img"}
    ((across, up),) = places
    x, y = re.findall(r"M(\d+) (\d+)h0", text)[0]
    assert (int(across[:2], 36), int(up[:2], 36)) == (int(x), int(y))
    assert across[2:] == ".."


def test_points_of_a_front_tell_their_expressions() -> None:
    front = [Point("1.0*dx", 3.0, 0.5, False, False), Point("2.1*dx*<b>", 5.0, 0.1, True, True)]
    with look():
        text = drawing("front", lambda axes: draw_front(axes, front))
    titles = re.findall(r"<path [^>]*><title>([^<]*)</title>", text)
    assert titles == ["1·Δx (complexity 3, error 0.5)", "2.1·Δx·&lt;b&gt; (complexity 5, error 0.1)"]


@pytest.mark.slow
def test_the_command_writes_both_files(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "--results", str(sweep.results)])
    assert ended.value.code == 0
    paths = [sweep.results / "report.html", sweep.results / "report.md"]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    before = [path.read_bytes() for path in paths]
    assert report(sweep.results) == tuple(paths)
    assert [path.read_bytes() for path in paths] == before


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistilleryError, match="there is no result store yet"):
        report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_law_is_shown_with_its_errors_and_where_it_holds(sweep: Sweep) -> None:
    text, _ = written(sweep)
    parsed = Parsed(text)
    assert "the law in the network's place, simple numbers" in parsed.text
    assert "<mo>∑</mo>" in text
    assert parsed.text.count("16 bodies") >= 1
    assert parsed.text.count("useful until time") == parsed.text.count("held out, median") == 3
    assert "errors of network and law by condition" in parsed.text


def test_the_evidence_for_a_law_stands_with_its_cell(tmp_path: Path) -> None:
    content = {"experiments": [{"system": "spring"}], "models": ["bottleneck"]}
    sweep = Sweep(parse_config(content), tmp_path / "results")
    (cell,) = sweep.cells
    given = replaced(network=True, dim=2, error=0.1)
    given["errors"] |= {
        "expressions_then_network": {"mae": 0.0123, "medae": 0.0124},
        "network_then_expressions": {"mae": 0.0125, "medae": 0.0126},
    }
    given["refitted_constants"] = [
        {"name": "c1", "value": 1.9800012, "error": 2e-6, "state": "ok"},
        {"name": "c2", "value": 54321.0, "error": None, "state": "runs away"},
    ]
    fabricate(sweep, cell, replace=given)
    r, dx, dy, m1 = (symbol(name) for name in ("r", "dx", "dy", "m1"))
    added = (symbol("s1"), symbol("s2"))
    raw = Law(2, (dx * (2.5 / r - 2.6) / m1, dy * (2.5 / r - 2.7) / m1), added, {})
    vector = (symbol("c2") + symbol("c1") / r) / m1
    refitted = Law(2, (dx * vector, dy * vector), added, {"c1": 1.98, "c2": -2.001}, shared=True)
    forms = {"raw": as_content(raw), "refitted": as_content(refitted)}
    files.write_json(cell.law(sweep.results, "json"), {"law": forms["refitted"], **forms})
    collect(sweep)
    text, in_markdown = written(sweep)
    parsed = Parsed(text)
    assert "<script>alert" not in text
    # Every form, typeset on the page and in the Markdown.
    assert "<mn>−2.6</mn>" in text
    for form in ("ax = Σ Δx·(−2.6 + 2.5/r)/m1; ay = Σ Δy·(−2.7 + 2.5/r)/m1", "a = Σ Δ·(−2 + 1.98/r)/m1"):
        assert form in in_markdown
    for told in (parsed.text, in_markdown):
        # Standard errors, mixtures, means under conditions, long times.
        assert "1.980001 ± 2e-06" in told
        assert "5.432e+04, runs away" in told
        assert all(number in told for number in ("0.0123", "0.0124", "0.0125", "0.0126"))
        assert "✓ 2.5e-05 (5e-05)" in told
        assert all(words in told for words in ("useful until time", "distance doubles in", "distance at the end"))
        assert "0.7" in told
    assert "c2 runs away" in parsed.text
    assert "message_1 = Δx·(c1/r + c2)/m1" in parsed.text
    assert "acceleration_1" not in parsed.text


def test_a_law_is_shown_without_the_files_beside_its_store(sweep: Sweep) -> None:
    study = read_study([sweep.results])
    (shown, *_) = read_shown(sweep, first_seeds(study.cells, 200))
    origin = origin_of(shown.found, Details())
    assert origin.raw == ""
    assert origin.refitted == "a = Σ Δ*(-2.001 + 1.980/r)/m1"
    assert origin.constants == (("c1", 1.98, 1e-6, "ok"),)
    assert origin.form == "clean"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.98, 3.4e-8, "1.98000000 ± 3e-08"),
        (-2.0, 0.04, "-2.00 ± 0.04"),
        (123.4, 20.0, "123 ± 2e+01"),
        (0.5, 8e-19, "0.5 ± 8e-19"),
        (1.23456e-5, 1e-7, "1.23e-05 ± 1e-07"),
        (54321.0, None, "5.432e+04"),
        (0.0, 1e-5, "0e+00 ± 1e-05"),
    ],
)
def test_constants_are_told_to_their_errors(value: float, error: float | None, text: str) -> None:
    assert measured(value, error) == text


def test_conditions_are_named_below_the_errors_and_nothing_touches() -> None:
    names = ["as trained", "16 bodies", "<b>a condition of quite some length"]
    beyond = {n: {"network": {"medae": 0.3 / 40**k}} for k, n in enumerate(names)}
    with look():
        found = law.conditions_picture(beyond)
    assert found is not None
    drawn, _ = found
    Parsed(drawn)
    words = re.findall(r">([^<>]+)</text>", drawn)
    assert [word for word in words if word in names] == names[:2]
    (short,) = [word for word in words if word.startswith("&lt;b&gt;a condition")]
    assert short.endswith("…")
    # Letters of 11 units are about 6 wide; the title of the axis ends at 16.
    ticks = re.findall(r'text-anchor="end" class="tick" x="([\d.]+)" y="[\d.]+">([^<]+)<', drawn)
    assert len(ticks) > 1
    assert all(float(x) - 6.2 * len(number) > 16 for x, number in ticks)


@pytest.mark.parametrize("line", ["a = Σ Δ*(-2 + 1.980/r)/m1", "H = Σ r*(r - 1.980) + (px**2/2 + py**2/2)/m", HOSTILE])
def test_lines_of_a_law_are_typeset_or_stand_as_they_are(line: str) -> None:
    (html,) = law.law_lines([line], 2)
    Parsed(html)
    assert "<script>" not in html
    assert ("<math" in html) == (line is not HOSTILE)
