"""The paper's tables beside ours: the paper's data, what is said of missing seeds, and stores of other versions."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.report import paper
from distillery.report.beyond import _with_spread
from distillery.report.document import Grid, markdown
from distillery.report.origin import _commits, _versions, header
from distillery.report.pooled import Pooled, beside, figures, loss_text, pool, r2_text, share_text
from distillery.report.recovery import table_5
from distillery.report.study import FITS, READINGS, Found, RowName, Store, Study, read_study
from distillery.report.tables import study_text, table_1, table_3, tables_text
from distillery.results import dataset, rows
from distillery.workflow.cell import Cell
from distillery.workflow.cli import main
from distillery.workflow.config import parse_config
from distillery.workflow.record import read_record
from distillery.workflow.stages.collect import collect, collection_of
from distillery.workflow.sweep import Sweep
from support.fabricate import LAWS, end, fabricate

TODAY = datetime.date(2020, 6, 19)
CONTENT: dict[str, Any] = {
    "experiments": [{"system": "string"}, {"system": "spring"}, {"system": "charge", "dim": 3}],
    "models": ["standard", "bottleneck", "newton", "control"],
    "seeds": [0, 1, 2],
}


def fabricated(folder: Path, **changes: Any) -> Sweep:
    """A collected sweep whose last cell diverged and whose first never ran."""
    made = Sweep(parse_config({**CONTENT, **changes}), folder)
    for cell in made.cells[1:-1]:
        fabricate(made, cell)
    end(made, made.cells[-1], "train", "diverged", "loss was NaN")
    collect(made)
    return made


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return fabricated(tmp_path_factory.mktemp("tables") / "results")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next."""
    _, _, rest = text.partition(f"{heading}\n")
    assert rest, f"no heading {heading!r}"
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def entries(text: str) -> dict[str, dict[str, str]]:
    """The first Markdown table of a text, by row and heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(len(row) == len(cells[0]) for row in cells)
    return {row[0]: dict(zip(cells[0][1:], row[1:], strict=True)) for row in cells[2:]}


def test_networks_stand_beside_their_laws(sweep: Sweep) -> None:
    text = study_text(read_study([sweep.results]), TODAY)
    for heading, column in (
        ("## Laws in the networks' place", "error_clean_mae"),
        ("## Beyond the training data", "mae"),
    ):
        assert f"`{column}` of `distillery query" in section(text, heading), "medians do not stand alone"
    laws = entries(section(text, "### Laws, bottleneck"))
    assert laws["spring-2"]["law"] == "`a = Σ Δ·(−2 + 1.98/r)/m1`"
    # The fabricated law is a thousand times better than its network.
    assert float(laws["spring-2"]["network / refitted"].replace(",", "")) == pytest.approx(1000)
    assert laws["spring-2"]["form from"].endswith(" fronts")
    median, least, most = (float(x) for x in re.findall(r"[\d.e-]+", laws["spring-2"]["network"]))
    assert least <= median <= most
    assert least < most
    assert float(laws["spring-2"]["clean"].split()[0]) == pytest.approx(9e-4 * median, rel=1e-2)
    beyond = entries(section(text, "### Beyond, bottleneck"))["spring-2"]
    assert beyond["16 bodies"].endswith("3/3")
    assert beyond["useful until"] == "3 → 10"
    assert "### Laws, control" not in text


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("spring-2d-4b-s0/l1-s0", {}, True),
        # Other systems, numbers of bodies and models, also where the sweep's own have the paper's names.
        ("spring-2d-8b-s0/l1-s0", {}, False),
        ("mine-2d-4b-s0/l1-s0", {"systems": {"mine": {}}}, False),
        ("string-2d-4b-s0/l1-s0", {}, False),
        ("spring-2d-4b-s0/l1-s0", {"systems": {"spring": {"potential": "r**4"}}}, False),
        ("spring-2d-4b-s0/mine-s0", {"variants": {"mine": {"penalty": "l1"}}}, False),
        ("spring-2d-4b-s0/l1-s0", {"variants": {"l1": {"weight": 9.0}}}, False),
    ],
)
def test_the_papers_numbers_stand_where_the_paper_has_them(name: str, config: dict[str, Any], told: bool) -> None:
    cells = [found(name, test_mae=0.1, force_r2_robust=[0.9], acceleration_r2_robust=[0.8], recovered=1.0)]
    study = study_of(*cells, **config)
    text = markdown([*table_1(study), *table_3(study), *table_5(study)])
    assert ("(paper " in text) == told
    assert ("Ratio to the paper's best" in text) == told


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["spring-2d-4b-s0/l1-s0"], ["in brackets what the paper reports", "whether the paper's authors"]),
        (["spring-2d-4b-s0/kl-s0"], ["in brackets what the paper reports", "The paper's kl has a weight of 1"]),
        (["mine-2d-4b-s0/kl-s0"], []),
        (["mine-2d-4b-s0/flathgn-s0"], ["(of FlatHGN: "]),
    ],
)
def test_what_the_sweep_does_not_have_is_not_explained(names: list[str], told: list[str]) -> None:
    every = [
        *("in brackets what the paper reports", "The paper's kl has a weight of 1", "(of FlatHGN: "),
        *("| paper |", "Of the paper's, no store has"),
    ]
    study = study_of(*(found(name) for name in names))
    text = study_text(study, TODAY)
    assert [words for words in every if words in text] == [
        words for words in every if words in told or (words[0] in "|O" and study.beside_paper)
    ]
    assert all(words in text for words in told)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.2, 0.1, 0.4], "0.2 (0.1 to 0.4)"),
        ([0.2, math.nan, 0.4], "0.3 (0.2 to 0.4), 2 of 3"),
        ([0.2, math.nan], "0.2, 1 of 2"),
        # What differs by rounding alone has no spread to show.
        ([3.6301e-7, 3.6302e-7], "3.63e-07"),
        ([0.25], "0.25"),
        ([math.nan], "–"),
    ],
)
def test_errors_of_laws_have_a_spread_over_seeds(values: list[float], text: str) -> None:
    assert _with_spread(values) == text


def found(name: str, status: str = "ok", **values: Any) -> Found:
    empty = {"reason": "", "recovered": math.nan, "form": "", "equation": [], "fit": []}
    return Found(Cell.parse(name), {"status": status, **empty, **values}, Path("results"))


def study_of(*cells: Found, **config: Any) -> Study:
    return Study((Store(Path("results"), config, "0123", "abcd", {"ok": len(cells)}),), cells)


def test_the_papers_numbers_are_complete() -> None:
    assert len(paper.ROWS) == len(set(paper.ROWS)) == 12
    assert tuple(paper.TABLE_3) == paper.ROWS
    messages = {row for row in paper.ROWS if row[0] not in ("damped", "discontinuous")}
    assert set(paper.TABLE_1) == set(paper.TABLE_5) == messages
    for table, models in ((paper.TABLE_1, 4), (paper.TABLE_3, 5), (paper.TABLE_5, 4)):
        assert all(tuple(entry) == paper.LOSS_MODELS[:models] for entry in table.values())
    assert all(0 <= value <= 1 for row in paper.TABLE_1.values() for value in row.values())
    # Sums over all entries, which were compared with the paper one by one: a changed digit shows.
    assert sum(sum(row.values()) for row in paper.TABLE_1.values()) == pytest.approx(17.804)
    assert sum(sum(row.values()) for row in paper.TABLE_3.values()) == pytest.approx(343.269)
    assert sum(sum(row.values()) for row in paper.TABLE_5.values()) == 18
    assert paper.least_loss(("spring", 3)) == ("flathgn", 0.010)
    assert paper.value(paper.TABLE_5, ("charge", 2), "l1") is False
    assert paper.value(paper.TABLE_1, ("string", 2), "l1") is None
    with pytest.raises(TypeError):
        paper.TABLE_1["spring", 2]["l1"] = 0.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("known", "r2", "loss"),
    [
        ([(0.9, "ok"), (0.98, "ok"), (1.0, "ok")], "0.960 ± 0.053", "0.960 ± 0.053"),
        ([(0.25, "ok")], "0.250", "0.250"),
        ([(0.9, "ok"), (1.0, "ok"), (math.nan, "diverged")], "0.950 ± 0.071, 2 of 3 (1 diverged)", None),
        (
            [(0.9, "ok"), (math.nan, "ok"), (math.nan, "missing"), (math.nan, "missing")],
            "0.900, 1 of 4 (2 missing, 1 without a value)",
            None,
        ),
        ([(math.nan, "missing"), (math.nan, "failed")], "– (1 failed, 1 missing)", "– (1 failed, 1 missing)"),
        ([(-1e6, "ok"), (0.9, "ok")], "< -1", None),
        ([(49.1, "ok"), (60.0, "ok")], None, "54.5 ± 7.7"),
        ([(1234.0, "ok"), (1000.0, "ok")], None, "1117 ± 165"),
        ([], "not run", "not run"),
    ],
)
def test_mean_and_spread_say_what_they_are_over(
    known: list[tuple[float, str]], r2: str | None, loss: str | None
) -> None:
    assert r2 is None or r2_text(pool(known)) == r2
    assert loss is None or loss_text(pool(known)) == loss


def test_shares_count_planned_seeds() -> None:
    assert share_text(pool([(1.0, "ok"), (0.0, "ok"), (math.nan, "diverged")]), "force") == "1/3 force, 1 diverged"
    assert share_text(pool([(math.nan, "missing")] * 2)) == "–, 2 missing"
    assert share_text(Pooled((), 0)) == "not run"
    assert beside("2/3", "yes") == "2/3 (paper yes)"


@pytest.mark.parametrize(
    ("value", "text"), [(0.3, "0.30"), (49.0, "49"), (0.01, "0.010"), (1.2, "1.2"), (0.0, "0"), (2.5e9, "2.5e+09")]
)
def test_figures_keep_trailing_zeros(value: float, text: str) -> None:
    assert figures(value, 2) == text


def test_what_stands_in_a_table_does_not_break_it() -> None:
    lines = markdown([Grid(("a|b", "c"), [["x\ny", "`p|q`"]])]).splitlines()
    assert lines == ["| a\\|b | c   |", "|------|-----|", "| x y  | `p\\|q` |"]


def test_rows_stand_in_the_papers_order_then_others() -> None:
    names = ("string-2d-4b-s0", "spring-2d-8b-s0", "mine-3d-4b-s0", "spring-2d-4b-s0", "charge-3d-4b-s1")
    study = study_of(*(found(f"{name}/{model}-s0") for name in names for model in ("mine", "l1", "standard")))
    assert [str(row) for row in study.rows] == ["charge-3", "spring-2", "spring-2, 8 bodies", "string-2", "mine-3"]
    assert study.models == ["standard", "l1", "mine"]


def test_a_control_of_ones_own_is_known_by_its_kind() -> None:
    cells = [found("spring-2d-4b-s0/raw-s0"), found("spring-2d-4b-s0/weak-s0")]
    study = study_of(*cells, variants={"raw": {"kind": "control"}, "weak": {"kind": "graph"}})
    assert study.controls == {"raw"}
    assert "Without raw: a control experiment has no messages." in markdown(table_1(study))
    assert "| weak " in markdown(table_3(study))
    assert "raw (control)" in study_text(study, TODAY)


def test_table_1_takes_the_better_of_force_and_acceleration_of_each_cell() -> None:
    cells = [
        found("spring-2d-4b-s0/l1-s0", force_r2_robust=[0.9, 0.8], acceleration_r2_robust=[0.1, 0.2], reading="std"),
        found("spring-2d-4b-s0/l1-s1", force_r2_robust=[0.2, 0.2], acceleration_r2_robust=[0.9, 1.0], reading="std"),
        found("r^-1-2d-4b-s0/l1-s0", force_r2_robust=[0.2, 0.2], acceleration_r2_robust=[0.9, 1.0]),
        found("r^-1-2d-4b-s0/l1-s1", force_r2_robust=[math.nan, 0.2], acceleration_r2_robust=[math.nan, 1.0]),
    ]
    best = entries(
        section(markdown(table_1(study_of(*cells))), "### Best of F and F/m, robust, by the reading that was distilled")
    )
    assert best["spring-2"]["l1"] == "F or F/m: 0.900 ± 0.071 (paper 1.000)"
    assert best["r^-1-2"]["l1"] == "F/m: 0.950, 1 of 2 (1 without a value) (paper 1.000)"


def test_table_3_compares_with_the_papers_best(sweep: Sweep) -> None:
    text = tables_text([sweep.results])
    errors = {cell: 0.05 + 0.001 * index for index, cell in enumerate(sweep.cells)}
    spring = [value for cell, value in errors.items() if (cell.experiment.system, cell.model) == ("spring", "standard")]
    mean, spread = statistics.fmean(spring), statistics.stdev(spring)
    assert entries(section(text, "## Table 3: test loss"))["spring-2"]["standard"] == (
        f"{mean:.4f} ± {spread:.4f} (paper 0.047)"
    )
    assert entries(section(text, "### Median error"))["spring-2"]["standard"] == f"{mean / 2:.4f} ± {spread / 2:.4f}"
    ratio = entries(section(text, "### Ratio to the paper's best"))
    # Of the models of the sweep: the paper's FlatHGN is better, and is not among them.
    assert ratio["spring-2"]["standard"] == f"{mean / 0.046:.2f}"
    assert ratio["spring-2"]["paper's best"] == "0.046 (bottleneck)"
    assert set(ratio) == {"charge-3", "spring-2"}


def test_table_5_says_what_diverged_what_is_missing_and_what_the_paper_found(sweep: Sweep) -> None:
    text = tables_text([sweep.results])
    verdicts = entries(section(text, "## Table 5: is the law recovered?"))
    assert list(verdicts) == ["charge-3", "spring-2", "string-2", "all"]
    assert verdicts["spring-2"]["bottleneck"] == "3/3 force (paper yes)"
    assert verdicts["spring-2"]["standard"] == "0/3 (paper no)"
    assert verdicts["spring-2"]["newton"] == "3/3 force"
    assert verdicts["charge-3"]["control"] == "2/3 acceleration, 1 diverged"
    assert verdicts["string-2"]["standard"] == "0/3, 1 missing"
    assert verdicts["all"]["bottleneck"] == "9/9"
    details = entries(section(text, "### Table 5, bottleneck"))["spring-2"]
    assert details["by engine"] == "operon 3/3"
    assert details["on front"] == "3/3"
    assert details["chosen expressions"].startswith("seed 0: `2.1*dx*(1 - 1/r)`; `")
    assert "spring-2, control" in section(text, "### Table 5, control")
    missing = section(text, "## What is missing")
    assert "train: loss was NaN" in missing
    assert str(sweep.cells[0]) in missing


def test_the_header_says_where_the_numbers_come_from(sweep: Sweep) -> None:
    head = study_text(read_study([sweep.results]), TODAY).partition("## Table 1")[0]
    for told in (
        "2020-06-19",
        sweep.config_hash,
        f"distillery tables --results {sweep.results}`",
        "36 cells, 34 finished, 2 not",
        "seeds 0, 1, 2; engine operon",
        "hidden 64",
        f"numpy {np.__version__}",
        "models l1, kl, flathgn",
        "- distillation: functions message node, held_out 5000, ",
        "operators + - \\* /, ",
        "; operon: generations 40, local_iterations 5, max_length 30, population 300, samples 1000; interpretation: ",
        "samples 20000, trim 0.9",
    ):
        assert told in head
    assert "pysr: " not in head, "an engine that was not asked has no budget"
    assert "Selected data" not in head


def test_the_command_names_the_configuration_with_the_stores_hash(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = tmp_path / "workflow" / "presets"
    presets.mkdir(parents=True)
    (presets / "other.yaml").write_text("experiments: [{system: spring}]\nmodels: [l1]\n")
    (presets / "broken.yaml").write_text("experiments: 1\n")
    study = read_study([sweep.results])
    monkeypatch.chdir(tmp_path)
    assert "command: not known" in study_text(study, TODAY)
    (presets / "study.yaml").write_text(str(CONTENT))
    assert "--configfile workflow/presets/study.yaml`" in study_text(study, TODAY)


@pytest.mark.slow
def test_a_study_split_over_folders_counts_each_cell_once(sweep: Sweep, tmp_path: Path) -> None:
    other = Sweep(
        parse_config({"experiments": [{"system": "string"}, {"system": "r^-2"}], "models": ["standard"], "seeds": [0]}),
        tmp_path / "results",
    )
    for cell in other.cells:
        fabricate(other, cell)
    collect(other)
    study = read_study([sweep.results, other.results])
    assert len(study.cells) == len(sweep.cells) + 1
    assert study.repeated == (sweep.cells[0],)
    # It never ran in the first folder.
    assert next(entry for entry in study.cells if entry.cell == sweep.cells[0]).source == other.results
    assert [str(row) for row in study.rows] == ["charge-3", "r^-2-2", "spring-2", "string-2"]
    assert f"1 cell in several folders ({sweep.cells[0]})" in study_text(study, TODAY)


@pytest.mark.slow
def test_fits_of_both_readings_and_node_functions_are_shown(sweep: Sweep, tmp_path: Path) -> None:
    values: dict[str, Any] = {f"{reading}_{fit}": [0.5] * 3 for reading in READINGS for fit in FITS}
    values |= {"std_force_r2_robust": [0.7, 0.9, math.nan], "node_equation": ["s1/m", "s1/m", ""]}
    values |= {"node_recovered": 1.0, "composed_mae": 0.5, "composed_medae": 0.5}
    records = [read_record(sweep, cell, {}) for cell in sweep.cells]
    records = [dataclasses.replace(record, values={**record.values, **values}) for record in records]
    collection = collection_of(sweep, records)
    dataset.write(dataset.build(collection), tmp_path / "sweep.zarr")
    rows.write_tables(collection, tmp_path / "sweep.zarr")
    text = tables_text([tmp_path])
    as_in_paper = entries(section(text, "### As in the paper: F, robust, by the largest deviation"))
    assert as_in_paper["spring-2"]["bottleneck"] == "0.800 ± 0.000 (paper 1.000)"
    assert as_in_paper["charge-3"]["newton"] == "– (3 without a value)"
    details = entries(section(text, "### Table 5, newton"))["spring-2"]
    assert details["node function"] == "3/3: `s1/m`; `s1/m`"
    assert details["composed error"] == "0.500 ± 0.000"
    fits = section(text, "### Table 1, newton")
    assert [line.split("|")[2].strip() for line in fits.splitlines() if line.startswith("| spring-2")] == [*READINGS]
    assert "Left out" not in text


@pytest.mark.slow
def test_an_older_store_leaves_a_part_out_and_says_so(tmp_path: Path) -> None:
    made = fabricated(tmp_path / "results")
    for name in ("test_medae", "on_front"):
        shutil.rmtree((made.results / "sweep.zarr").resolve() / "cells" / name)
    text = tables_text([made.results])
    assert "no store has the column `test_medae`" in section(text, "### Median error")
    assert "has no columns test_medae, on_front" in text
    assert entries(section(text, "### Table 5, newton"))["spring-2"]["on front"] == "–, 3 without a value"


@pytest.mark.slow
def test_engines_that_were_compared_are_counted_on_their_own(tmp_path: Path) -> None:
    made = Sweep(
        parse_config(
            {
                "experiments": [{"system": "spring"}],
                "models": ["l1"],
                "seeds": [0, 1],
                "distillation": {"compare": ["pysr"]},
            }
        ),
        tmp_path / "results",
    )
    first, second = made.cells
    front = [{"expression": "0.1", "complexity": 1, "mae": 1.0, "score": 0.0}]
    front.append({"expression": LAWS[0], "complexity": 9, "mae": 0.1, "score": 1.0})
    for cell, recovered in ((first, True), (second, False)):
        fits = [
            {"component": k, "status": "ok", "reason": "", "fit": "", "seconds": 1.0, "chosen": 1, "front": front}
            for k in range(2)
        ]
        verdicts = [{"component": k, "recovered": recovered or k == 0, "others": []} for k in range(2)]
        fabricate(
            made,
            cell,
            distill={"compared": [{"engine": "pysr", "components": fits}]},
            verify={"compared": [{"engine": "pysr", "recovered": recovered, "components": verdicts}]},
        )
    collect(made)
    details = entries(section(tables_text([made.results]), "### Table 5, l1"))["spring-2"]
    assert details["by engine"] == "operon 2/2; pysr 1/2"


def test_a_folder_without_a_store_is_refused_in_one_line(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DistilleryError, match="there is no result store yet"):
        read_study([sweep.results, tmp_path])
    output = tmp_path / "tables.md"
    with pytest.raises(SystemExit) as stopped:
        main(["tables", "--results", str(sweep.results), "--results", str(tmp_path), "--output", str(output)])
    assert stopped.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"distillery: {tmp_path}/sweep.zarr: there is no result store yet")
    assert not output.exists()


@pytest.mark.slow
def test_the_command_writes_what_it_would_print(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "docs" / "tables.md"
    for more in ([], ["--output", str(output)]):
        with pytest.raises(SystemExit) as ended:
            main(["tables", "--results", str(sweep.results), *more])
        assert ended.value.code == 0
    assert output.read_text(encoding="utf-8") == capsys.readouterr().out


def test_rows_are_named_by_their_bodies_where_there_are_not_four() -> None:
    assert str(RowName("r^-1", 2, 4)) == "r^-1-2"
    assert str(RowName("r^-1", 3, 8)) == "r^-1-3, 8 bodies"


@pytest.mark.parametrize(
    ("of_cells", "line"),
    [
        ([], "unknown"),
        (["a", None, "a"], "a"),
        (["train a, interpret b", "train c, interpret b"], "train a, c; interpret b"),
        (["train a, interpret b", "d"], "train a; interpret b; all stages d"),
        ([f"train {commit}" for commit in "abcdefg"], "train a, b, c, d, e and 2 more"),
    ],
)
def test_commits_of_cells_are_told_by_stage(of_cells: list[str | None], line: str) -> None:
    assert _commits(of_cells) == line


def test_what_some_experiments_have_of_their_own_is_told(tmp_path: Path) -> None:
    heavy = {"loss": "relative", "share": 0.8}
    experiments = [
        {"system": "spring", "operators": ["+", "log"]},
        {"system": "charge", **heavy},
        {"system": "r^-2", "dim": 3, **heavy},
    ]
    text = tables_text(
        [fabricated(tmp_path / "results", experiments=experiments, models=["bottleneck"], seeds=[0]).results]
    )
    assert "- instead in charge-2, r^-2-3: loss relative, share 0.8\n" in text
    assert "- instead in spring-2: operators + log\n" in text


def test_budgets_are_those_of_all_engines_and_of_what_was_asked() -> None:
    universe = {"box": 150.0}
    config = parse_config(
        {
            "halos": [
                {"name": "dense", "universe": universe, "operators": ["+", "^"]},
                {"name": "thin", "universe": universe, "operators": None},
            ],
            "distillation": {"compare": ["pysr"], "operon": {"population": 77}},
        }
    ).model_dump(mode="json")
    head = markdown(header(study_of(found("dense-3d-0b-s0/constant-s0"), **config), TODAY))
    (budget,) = [line for line in head.splitlines() if line.startswith("- distillation: ")]
    assert "population 77, " in budget
    assert "; pysr: " in budget
    # Messages of halos are read in a way of their own.
    assert "interpretation" not in budget
    assert "- instead in dense: operators + ^\n" in head
    assert "instead in thin" not in head


@pytest.mark.parametrize(
    ("versions", "line"),
    [
        ([{"torch": "2.0"}, {"torch": "2.0"}], "torch 2.0"),
        ([{"torch": "2.0", "numpy": "1.0"}, {"torch": "2.1"}], "numpy 1.0, torch 2.0 or 2.1"),
        (
            [{"torch": {"train": "2+cuda", "interpret": "2", "distill": "2"}}],
            "torch 2+cuda (train) or 2 (interpret, distill)",
        ),
        ([{"torch": {"train": "2+cuda", "interpret": "2"}}, {"torch": "2"}], "torch 2+cuda (train) or 2 (all stages)"),
        ([], "unknown"),
    ],
)
def test_versions_say_which_stage_had_them(versions: list[dict[str, Any]], line: str) -> None:
    cells = [
        found(f"spring-2d-4b-s0/l1-s{seed}", versions=json.dumps(of_cell)) for seed, of_cell in enumerate(versions)
    ]
    assert _versions(cells) == line


def test_data_selected_by_their_fate_are_told() -> None:
    sizes = {"simulations": 1000, "test_simulations": 100, "bodies": 4, "seed": 0}
    config = {"experiments": [{**sizes, "system": name, "dim": 2} for name in ("spring", "charge", "damped", "r^-1")]}
    cells = [
        found("spring-2d-4b-s0/l1-s0", redraws_train=31.0, redraws_test=1.0),
        found("spring-2d-4b-s0/l1-s1", redraws_train=31.0, redraws_test=1.0),
        found("charge-2d-4b-s0/l1-s0", redraws_train=10.0, redraws_test=0.0),
        found("damped-2d-4b-s0/l1-s0", redraws_train=11.0, redraws_test=3.0),
        # As a store of an earlier version has it.
        found("r^-1-2d-4b-s0/l1-s0"),
    ]
    head = markdown(header(study_of(*cells, **config), TODAY))
    assert (
        "by its fate: spring-2d-4b-s0: 31 for 1,000 training simulations (3.1 %); damped-2d-4b-s0: 11 for 1,000 "
        "training simulations (1.1 %), 3 for 100 held-out simulations (3 %). Networks"
    ) in head
    assert "Selected data" not in markdown(header(study_of(cells[2], cells[4], **config), TODAY))
