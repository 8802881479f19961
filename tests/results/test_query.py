"""Asking the store: filters, SQL that reaches nothing else, and answers in three forms."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from distillery.errors import DistilleryError
from distillery.results.query import answer, columns_from, query
from distillery.workflow.cli import main
from distillery.workflow.config import parse_config
from distillery.workflow.stages.collect import collect
from distillery.workflow.sweep import Sweep
from support.fabricate import LAWS, end, fabricate


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Eight cells: seven whole ones, of which three are recovered, and one that diverged."""
    content = {
        "experiments": [{"system": "spring"}, {"system": "r^-1", "dim": 3}],
        "models": ["bottleneck", "standard"],
        "seeds": [0, 1],
    }
    made = Sweep(parse_config(content), tmp_path_factory.mktemp("query") / "results")
    for cell in made.cells[:-3]:
        fabricate(made, cell)
    end(made, made.cells[-3], "train", "diverged", "loss was NaN")
    for cell in made.cells[-2:]:
        fabricate(made, cell)
    collect(made)
    return made


def cells(sweep: Sweep, *where: str) -> list[str]:
    return [row[0] for row in query(sweep.results, where, columns=["cell"]).rows]


def test_every_cell_of_the_sweep_is_answered_in_its_order(sweep: Sweep) -> None:
    assert cells(sweep) == [str(cell) for cell in sweep.cells]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["system=spring"], [0, 1, 2, 3]),
        (["system=spring", "seed=1"], [1, 3]),
        (["system!=spring"], [4, 5, 6, 7]),
        (["system=spring,r^-1", "dim=3"], [4, 5, 6, 7]),
        (["recovered=yes"], [0, 1, 4]),
        (["recovered=no"], [2, 3, 6, 7]),
        (["recovered!=yes"], [2, 3, 6, 7]),
        (["status=diverged"], [5]),
        (["status!=ok"], [5]),
        (["reason~NaN"], [5]),
        (["test_mae<0.052"], [0, 1]),
        (["test_mae >= 0.056"], [6, 7]),
        (["test_mae!=0.05"], [1, 2, 3, 4, 6, 7]),
        (["force_r2_robust>0.9"], [0, 1, 4]),
        (["force_r2>0.9905"], []),
        (["equation~1.0/r", "dim=2"], [0, 1, 2, 3]),
        (["complexity<=9", "model=standard"], [2, 3, 6, 7]),
        (["cell=spring-2d-4b-s0/standard-s1"], [3]),
        (["experiment=r^-1-3d-4b-s0", "form=force"], [4]),
        (["message_std>0.3", "dim=2"], [0, 1]),
        (["system = spring , r^-1", "dim=3"], [4, 5, 6, 7]),
        (["model==standard"], [2, 3, 6, 7]),
        (["model='standard'"], [2, 3, 6, 7]),
        (["model = \"standard\" , 'bottleneck'", "dim=2"], [0, 1, 2, 3]),
        (["system!=spring, r^-1"], []),
        (["model!=standard,standard"], [0, 1, 4, 5]),
        (["status=failed"], []),
        (["form="], [2, 3, 5, 6, 7]),
        (["form!="], [0, 1, 4]),
        (["form=force,''"], [0, 1, 2, 3, 4, 5, 6, 7]),
        (["form!=energy"], [0, 1, 4]),
        (["test_mae="], [5]),
        (["test_mae!="], [0, 1, 2, 3, 4, 6, 7]),
        (["test_mae<inf"], [0, 1, 2, 3, 4, 6, 7]),
        (["recovered="], [5]),
        (["recovered=YES,no"], [0, 1, 2, 3, 4, 6, 7]),
        (["equation="], [5]),
        (["equation!="], [0, 1, 2, 3, 4, 6, 7]),
        (["equation~dy*(1.0"], [0, 1, 2, 3, 4, 6, 7]),
        (["equation~'dz'"], [4, 6, 7]),
        (["complexity!=9"], []),
        (["seed=1.0"], [1, 3, 5, 7]),
        (["seed<0.5", "dim=3"], [4, 6]),
        (["seed<1e99999", "dim=3"], [4, 5, 6, 7]),
    ],
)
def test_filters(sweep: Sweep, where: list[str], expected: list[int]) -> None:
    assert cells(sweep, *where) == [str(sweep.cells[index]) for index in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": ["systm=spring"]}, r"'systm=spring': unknown column 'systm'; similar are system; "),
        ({"where": ["r2>0"]}, r"unknown column 'r2'; similar are force_r2, .*; `distillery query --sql \"DESCRIBE cel"),
        ({"where": ["qqqqqqq=1"]}, r"unknown column 'qqqqqqq'; `distillery query --sql \"DESCRIBE cells\"` lists all"),
        ({"where": ["spring"]}, r"is no filter; write it like system=spring"),
        ({"where": ["test_mae<small"]}, r"test_mae is compared with 'small'; give a number"),
        ({"where": ["test_mae=nan"]}, r"give a number \(test_mae= finds what has none\)"),
        ({"where": ["test_mae<1_0"]}, r"compared with '1_0'; give a number"),
        ({"where": ["seed=\N{ARABIC-INDIC DIGIT ONE}"]}, r"give a number"),
        ({"where": ["recovered=perhaps"]}, r"give yes or no"),
        ({"where": ["recovered=2"]}, r"give yes or no"),
        ({"where": ["recovered<1"]}, r"recovered is yes or no; compare it with = or !="),
        ({"where": ["system<spring"]}, r"system is text"),
        ({"where": ["test_mae~1"]}, r"test_mae is a number"),
        ({"where": ["rank=0"]}, r"rank is a column of equations; add --equations"),
        ({"where": ["model=L1"]}, r"model has no value 'L1'; it has bottleneck, standard$"),
        ({"where": ["model!=standart"]}, r"model has no value 'standart'; it has bottleneck, standard$"),
        ({"where": ["model=standard,l1"]}, r"model has no value 'l1'"),
        ({"where": ["status=done"]}, r"status has no value 'done'; it has ok, diverged, missing, failed$"),
        ({"where": ["seed=2"]}, r"seed has no value '2'; it has 0, 1$"),
        ({"where": ["equation=2.1*dx*(1.0 - 1.0/q)"]}, r"equation has no value .*1\.0/r"),
        ({"where": ["condition=16 body"], "rows": "conditions"}, r"has no value '16 body'; .*16 bodies"),
        ({"where": ["model='bottleneck"]}, r"its quotes do not match; write a value with commas like 'a, b'"),
        ({"where": ["model='l1' or 1"]}, r"its quotes do not match"),
        ({"where": ["model=standard,"]}, r"an entry of the list is empty"),
        ({"where": ["model=,standard"]}, r"an entry of the list is empty"),
        ({"where": ["equation~"]}, r"~ compares with a text; give a text$"),
        ({"where": ["seed<"]}, r"< compares with one number; give one number"),
        ({"where": ["model=" + "x" * 10_000]}, r"^.{1,400}$"),
        ({"where": ["model=a\nb"]}, r"has no value 'a\\nb'"),
        ({"columns": ["cell", "rank"]}, r"rank is a column of equations; add --equations"),
        ({"columns": ["cell", "Model"]}, r"unknown column 'Model'; similar are model"),
        ({"columns": ["cell", "cell"]}, r"cell stands twice"),
        ({"columns": ["cell"], "sql": "SELECT 1"}, r"a query in SQL names its own columns"),
        ({"columns": ["status", "cell"], "rows": "equations"}, r"status is a column of cells"),
        ({"where": ["seed<1,2"]}, r"< compares with one number; give one number, or a list with = or !="),
    ],
)
def test_wrong_questions_end_in_one_line(sweep: Sweep, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DistilleryError, match=message) as caught:
        query(sweep.results, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nix\nFROM cells", r"sql: Binder Error.*nix.*\nCandidate bindings: .*\nLINE 1: SELECT nix\n *\^"),
        ("SELEC", r"sql: Parser Error.*\nLINE 1: SELEC\n"),
        ("SELECT seed + 'x' FROM cells", r"sql: Conversion Error|sql: Binder Error"),
        ("SELECT * FROM nowhere", r"sql: .*nowhere"),
        ("", r"sql: is not a single query; write one SELECT"),
        ("DROP TABLE cells", r"sql: is not a single query; write one SELECT"),
        ("DELETE FROM cells", r"sql: is not a single query"),
        ("WITH a AS (SELECT 1) DELETE FROM cells", r"sql: is not a single query"),
        ("SELECT 1; DROP TABLE cells", r"sql: is not a single query"),
        ("SELECT 1; SELECT 2", r"sql: is not a single query"),
    ],
)
def test_errors_of_sql_are_shown_whole(sweep: Sweep, sql: str, message: str) -> None:
    with pytest.raises(DistilleryError, match=message) as caught:
        query(sweep.results, sql=sql)
    lines = str(caught.value).splitlines()
    assert lines[-1].startswith("the tables are cells, equations and conditions; ")
    assert all(lines)


def test_without_a_store_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DistilleryError, match=r"sweep.zarr: there is no result store yet; run `distillery collect`"):
        query(tmp_path)


def test_the_best_law_of_each_system_is_asked_for_in_sql(sweep: Sweep) -> None:
    sql = "SELECT system, arg_min(cell, error_clean_medae), arg_min(law, error_clean_medae) FROM cells WHERE law <> ''"
    found = query(sweep.results, sql=f"{sql} GROUP BY system ORDER BY system").rows
    law = "a = Σ Δ*(-2 + 1.980/r)/m1"
    assert found == (("r^-1", str(sweep.cells[4]), law), ("spring", str(sweep.cells[0]), law))


def test_numbers_of_sql_are_numbers_and_columns_of_equal_names_are_kept(sweep: Sweep) -> None:
    sql = (
        "SELECT a.cell, b.cell, 1.50 AS x, 2::DECIMAL(4, 0) AS y, [0.25, 3.0] AS z, {'a': 0.5} AS w, sum(a.dim) AS x, "
        "0 AS x_1 FROM cells a JOIN cells b USING (cell) WHERE a.seed = 0 AND a.dim = 2 GROUP BY ALL ORDER BY 1 LIMIT 1"
    )
    (row,) = json.loads(answer(sweep.results, sql=sql, output="json"))
    cell = str(sweep.cells[0])
    assert row == {
        "cell": cell, "cell_1": cell, "x": 1.5, "y": 2, "z": [0.25, 3.0], "w": {"a": 0.5}, "x_2": 2, "x_1": 0
    }  # fmt: skip
    head = answer(sweep.results, sql=sql, output="csv").splitlines()[0]
    assert head == "cell,cell_1,x,y,z,w,x_2,x_1"
    described = query(sweep.results, sql="DESCRIBE cells").rows
    assert ("test_mae", "DOUBLE") in {row[:2] for row in described}


def test_columns_are_named_with_spaces_and_quotes() -> None:
    assert columns_from(" cell , 'model',\"seed\" ") == ["cell", "model", "seed"]
    with pytest.raises(DistilleryError, match="an entry of the list is empty"):
        columns_from("cell,,model")


def test_large_seeds_and_conditions_with_commas_are_told_apart(tmp_path: Path) -> None:
    """2**53 and 2**53 + 1 are one floating-point number."""
    large = 2**53
    conditions = {"2, wide": {"bodies": 2}, "2": {"bodies": 2}, "it's": {"bodies": 2}}
    content = {
        "experiments": [{"system": "spring", "seed": large}],
        "models": ["bottleneck"],
        "seeds": [large, large + 1, large - 1],
        "generalisation": {"conditions": conditions},
    }
    made = Sweep(parse_config(content), tmp_path / "results")
    for cell in made.cells:
        fabricate(made, cell)
    collect(made)

    def seeds(*where: str) -> list[int]:
        return [row[0] for row in query(made.results, where, columns=["seed"]).rows]

    assert seeds(f"seed={large + 1}") == [large + 1]
    assert seeds(f"seed!={large + 1}") == [large - 1, large]
    assert seeds(f"seed>{large}") == [large + 1]
    assert seeds(f"seed<={large}.5") == [large - 1, large]
    assert seeds(f"data_seed={large}", f"seed={large}") == [large]
    with pytest.raises(DistilleryError, match=f"data_seed has no value '{large + 1}'; it has {large}$"):
        seeds(f"data_seed={large + 1}")
    assert json.loads(answer(made.results, [f"seed={large + 1}"], output="json"))[0]["seed"] == large + 1

    def conditions_of(*where: str) -> set[str]:
        return {row[0] for row in query(made.results, where, rows="conditions", columns=["condition"]).rows}

    assert conditions_of('condition="2, wide"') == conditions_of("condition='2, wide'") == {"2, wide"}
    assert conditions_of("condition=2, 'it''s'") == {"2", "it's"}
    assert conditions_of("condition=it's") == {"it's"}
    assert conditions_of("condition~2, w") == {"2, wide"}
    assert conditions_of('condition!="2, wide", 2,long times') == {"it's"}
    with pytest.raises(
        DistilleryError, match=r"""no value 'wide'; a value with commas is quoted: 'condition="2, wide"'"""
    ):
        conditions_of("condition=2, wide")


@pytest.mark.slow
def test_sql_on_cells_and_equations(sweep: Sweep) -> None:
    table = query(
        sweep.results,
        sql="SELECT system, count(*) AS n, count(test_mae) AS whole, sum(recovered::INT) AS recovered, "
        "min(force_r2[1]) AS least, len(any_value(equation)) AS components "
        "FROM cells GROUP BY ALL ORDER BY system",
    )
    assert table.names == ("system", "n", "whole", "recovered", "least", "components")
    assert table.rows[0] == ("r^-1", 4, 3, 1, pytest.approx(0.03), 3)
    assert table.rows[1] == ("spring", 4, 4, 2, pytest.approx(0.03), 2)
    joined = query(
        sweep.results,
        sql="SELECT c.model, e.expression FROM equations e JOIN cells c USING (cell) "
        "WHERE e.chosen AND e.component = 0 AND e.function = 'message' "
        "AND c.seed = 1 AND c.system = 'spring' ORDER BY 1",
    )
    assert joined.rows == (("bottleneck", LAWS[0]), ("standard", LAWS[0]))
    with_ = query(sweep.results, sql="WITH a AS (SELECT seed FROM cells) SELECT count(*) FROM a;")
    assert with_.rows == ((8,),)
    spread = query(sweep.results, sql="SELECT len(message_std) FROM cells WHERE seed = 0 AND dim = 2 ORDER BY 1")
    assert spread.rows == ((2,), (100,))


@pytest.mark.slow
def test_filters_come_before_sql(sweep: Sweep) -> None:
    count = "SELECT (SELECT count(*) FROM cells), (SELECT count(*) FROM equations)"
    assert query(sweep.results, sql=count).rows == ((8, 2 * 4 * (4 + 2) + 3 * 3 * (4 + 2)),)
    assert query(sweep.results, ["system=spring", "seed=0"], sql=count).rows == ((2, 2 * 2 * (4 + 2)),)
    assert query(sweep.results, ["rank=0"], sql=count).rows == ((8, 2 * (2 * 4 + 3 * 3)),)
    assert query(sweep.results, ["status=failed"], sql=count).rows == ((0, 0),)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "COPY cells TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/stolen.db'",
        "EXPORT DATABASE '{folder}/stolen'",
        "SET enable_external_access = true",
        "SET temp_directory = '{folder}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE PERSISTENT SECRET stolen (TYPE s3)",
        "SELECT * FROM frames",
        "SELECT * FROM arrays",
    ],
)
def test_sql_reaches_nothing_but_the_tables(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(DistilleryError, match=r"^sql: "):
        query(sweep.results, sql=sql.format(file=file, folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_equations_are_answered_one_per_row(sweep: Sweep) -> None:
    where = ["system=spring", "model=bottleneck", "seed=0", "function=message"]
    table = query(
        sweep.results, where, rows="equations", columns=["component", "rank", "expression", "chosen", "passes"]
    )
    assert len(table.rows) == 8
    assert table.rows[2] == (0, 2, LAWS[0], True, True)
    assert table.rows[5] == (1, 1, "1.4*dy", False, False)
    chosen = query(sweep.results, [*where, "chosen=yes", "complexity<10"], rows="equations", columns=["expression"])
    assert chosen.rows == ((LAWS[0],), (LAWS[1],))
    unjudged = query(sweep.results, ["recovered=yes", "passes=yes", "rank=3"], rows="equations", columns=["cell"])
    assert len(unjudged.rows) == 2 + 2 + 3


def test_csv_and_json_carry_the_whole_row(sweep: Sweep) -> None:
    rows = list(csv.DictReader(io.StringIO(answer(sweep.results, ["seed=1"], output="csv"))))
    assert [row["cell"] for row in rows] == [str(cell) for cell in sweep.cells if cell.seed == 1]
    assert rows[0]["equation"] == "; ".join(LAWS[:2])
    assert float(rows[0]["test_mae"]) == 0.05 + 0.001
    assert rows[0]["recovered"] == "yes"
    assert rows[2]["test_mae"] == ""
    records = json.loads(answer(sweep.results, ["seed=1"], output="json"))
    assert records[0]["equation"] == list(LAWS[:2])
    assert records[0]["recovered"] is True
    assert records[2]["test_mae"] is None
    assert records[2]["recovered"] is None
    assert records[2]["reason"] == "train: loss was NaN"
    assert "message_std" not in records[0]


def test_the_table_is_aligned_and_fits(sweep: Sweep) -> None:
    lines = answer(sweep.results, width=110).splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].split()[:3] == ["cell", "status", "recovered"]
    assert {line.index("ok") for line in lines if " ok " in line} == {lines[0].index("status")}
    none = answer(sweep.results, ["status=failed"]).splitlines()
    assert none[0].startswith("cell")
    assert none[-1] == "(no rows)"
    assert json.loads(answer(sweep.results, ["status=failed"], output="json")) == []
    assert answer(sweep.results, ["status=failed"], columns=["cell"], output="csv") == "cell"


def test_the_quick_reader_agrees_with_xarray(sweep: Sweep) -> None:
    with xr.open_datatree(sweep.results / "sweep.zarr", engine="zarr") as tree:
        dataset = tree["cells"].to_dataset().load()
    names = ["test_mae", "force_r2", "equation", "reason", "recovered"]
    table = query(sweep.results, columns=["system", "dim", "bodies", "data_seed", "model", "seed", *names])
    for row in table.rows:
        there = dataset.sel(dict(zip(table.names[:6], row[:6], strict=True)))
        mae, r2, equation, reason, recovered = row[6:]
        assert np.float64(np.nan if mae is None else mae) == there.test_mae.item() or mae is None
        assert (mae is None) == np.isnan(there.test_mae.item())
        assert equation == there.equation.values[: len(equation)].tolist()
        assert [np.nan if v is None else v for v in r2] == pytest.approx(there.force_r2.values[: len(r2)], nan_ok=True)
        assert reason == there.reason.item()
        assert (recovered is None) == np.isnan(there.recovered.item())


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "checksums", "column"])
def test_a_damaged_store_is_named(make_sweep: Any, damage: str) -> None:
    sweep = make_sweep()
    fabricate(sweep, sweep.cells[0])
    collect(sweep)
    file = (sweep.results / "sweep.zarr").resolve() / "tables" / "cells.parquet"
    content = file.read_bytes()
    match damage:
        case "truncate":
            file.write_bytes(content[:-6])
        case "flip":
            file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        case "remove":
            file.unlink()
        case "checksums":
            file.with_name("checksums.json").write_text("{")
        case "column":
            other = file.with_name("conditions.parquet")
            shutil.copy(other, file)
            known = json.loads(file.with_name("checksums.json").read_text())
            known[file.name] = known[other.name]
            file.with_name("checksums.json").write_text(json.dumps(known))
    with pytest.raises(DistilleryError, match=r"sweep.zarr/tables.*: damaged.*run `distillery collect`") as caught:
        query(sweep.results)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_asking_imports_nothing_heavy(sweep: Sweep) -> None:
    heavy = ("torch", "numpy", "xarray", "zarr", "pandas", "sympy", "pydantic", "matplotlib", "scipy", "dask")
    script = (
        "import sys; from pathlib import Path; from distillery.results.query import answer; "
        f"answer(Path({str(sweep.results)!r}), sql='SELECT count(*) FROM cells'); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


def test_conditions_are_answered_one_per_row(sweep: Sweep) -> None:
    """Which laws hold on 16 bodies, and how far their networks are off there."""
    where = ["model=bottleneck", "system=spring", "condition=16 bodies", "predictor=network,refitted"]
    table = query(sweep.results, where, rows="conditions", columns=["cell", "predictor", "holds", "mae"])
    assert [row[1:3] for row in table.rows] == [("network", False), ("refitted", True)] * (len(table.rows) // 2)
    assert all(own[3] == pytest.approx(1e-3 * other[3]) for other, own in zip(*[iter(table.rows)] * 2, strict=True))
    (count,) = query(
        sweep.results,
        sql="SELECT count(*) FROM conditions JOIN cells USING (cell) WHERE holds AND condition = '16 bodies' "
        "AND predictor = 'refitted' AND recovered",
    ).rows
    assert count[0] > 0
    long = query(sweep.results, [*where[:2], "condition=long times"], rows="conditions", columns=["horizon", "holds"])
    assert set(long.rows) == {(3.0, None), (10.0, None)}
    with pytest.raises(DistilleryError, match="horizon is a column of conditions; add --conditions"):
        query(sweep.results, ["horizon>1"])


def test_conditions_are_answered_with_the_laws_of_their_cells(sweep: Sweep) -> None:
    where = ["condition=16 bodies", "predictor=clean", "holds=yes"]
    table = query(sweep.results, where, rows="conditions", columns=["cell", "law", "equation"])
    law = "a = Σ Δ*(-2 + 1.980/r)/m1"
    assert {row[:2] for row in table.rows} == {(str(cell), law) for cell in sweep.cells if cell != sweep.cells[5]}
    # As many components as the cell's space has dimensions.
    assert {len(row[2]) for row in table.rows if row[0].startswith("spring")} == {2}
    assert {len(row[2]) for row in table.rows if row[0].startswith("r^-1")} == {3}
    some = query(sweep.results, [*where, "law~1.980", "system=r^-1"], rows="conditions", columns=["cell", "law"])
    assert [row[0] for row in some.rows] == [str(sweep.cells[place]) for place in (4, 6, 7)]
    # A condition has a reason of its own, which is not that of the cell.
    assert query(sweep.results, where, rows="conditions", columns=["reason"]).rows[0] == ("",)


def test_the_law_stands_in_the_listing_of_conditions(sweep: Sweep) -> None:
    shown = answer(sweep.results, ["condition=16 bodies", "predictor=clean", "seed=0"], rows="conditions")
    assert shown.splitlines()[0].endswith("law")
    assert shown.splitlines()[2].endswith("a = Σ Δ*(-2 + 1.980/r)/m1")


def test_a_store_of_an_earlier_version_is_collected_again(sweep: Sweep, tmp_path: Path) -> None:
    shutil.copytree(sweep.results / "sweep.zarr", tmp_path / "sweep.zarr")
    assert query(tmp_path, columns=["cell"]) == query(sweep.results, columns=["cell"])
    shutil.rmtree(tmp_path / "sweep.zarr" / "tables")
    with pytest.raises(DistilleryError, match=r"another version of distillery .*; run `distillery collect` again$"):
        query(tmp_path)


@pytest.mark.slow
def test_the_command_explains_filters_and_refuses_wrong_ones(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["query", "--results", str(sweep.results), *arguments])
        return ended.value.code, *capsys.readouterr()

    _, told, _ = run("--help")
    examples = (
        "model=l1,bottleneck",
        "model!=l1,bottleneck",
        "test_mae<0.1",
        "equation~q1",
        "law=",
        "condition='\"2, wide\"'",
    )
    assert all(f"    {example} " in told for example in examples)
    assert run("--columns", "cell, model", "seed=0", "dim=2", "--format", "csv")[:2] == (
        0,
        "cell,model\n" + "".join(f"{cell},{cell.model}\n" for cell in sweep.cells[:4] if cell.seed == 0),
    )
    code, out, err = run("status=done")
    assert (code, out) == (1, "")
    assert err == "distillery: where 'status=done': status has no value 'done'; it has ok, diverged, missing, failed\n"
