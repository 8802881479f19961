"""Collecting: every cell stands in the store, whatever happened to it."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from distillery import files
from distillery.errors import DistilleryError
from distillery.results import dataset
from distillery.results.columns import CELLS, EQUATIONS
from distillery.results.query import query
from distillery.results.table import format_results, readable, results_table
from distillery.util.text import Table
from distillery.workflow.cell import STAGES
from distillery.workflow.config import parse_config
from distillery.workflow.stages.collect import collect
from distillery.workflow.sweep import Sweep
from support.fabricate import LAWS, end, fabricate, front, generalised

EXPERIMENTS = [{"system": "spring"}, {"system": "r^-1", "dim": 3, "seed": 5}]


@pytest.fixture
def sweep(make_sweep: Any) -> Any:
    return make_sweep(experiments=EXPERIMENTS, models=["bottleneck", "standard"], seeds=[3, 1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sweep whose every cell went well, collected; only to be read."""
    content = {"experiments": EXPERIMENTS, "models": ["bottleneck", "standard"], "seeds": [3, 1]}
    sweep = Sweep(parse_config(content), tmp_path_factory.mktemp("finished") / "results")
    for cell in sweep.cells:
        fabricate(sweep, cell)
    assert collect(sweep) == {"ok": 8}
    return sweep


def opened(sweep: Any) -> xr.DataTree:
    """Return the store; only to be read."""
    path = sweep.results / "sweep.zarr"
    made = path.stat()
    return _loaded(path, (made.st_ino, made.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, _made: tuple[int, int]) -> xr.DataTree:
    with xr.open_datatree(path, engine="zarr") as tree:
        return tree.load()


def at(sweep: Any, cell: Any) -> xr.Dataset:
    return opened(sweep)["cells"].to_dataset().sel(cell.coordinates)


@pytest.mark.slow
def test_every_finding_comes_back_at_its_coordinates(finished: Any) -> None:
    sweep = finished
    for number, cell in enumerate(sweep.cells):
        found = at(sweep, cell)
        dim = cell.experiment.dim
        assert found.status.item() == "ok"
        assert found.reason.item() == ""
        assert found.test_mae.item() == pytest.approx(0.05 + 0.001 * number)
        assert found.recovered.item() == (cell.model == "bottleneck")
        assert found.equation.values.tolist() == [*LAWS[:dim], ""][:3]
        assert found.complexity.values[:dim].tolist() == [9] * dim
        assert np.isnan(found.complexity.values[dim:]).all()
        base = 0.99 if cell.model == "bottleneck" else 0.03
        assert found.force_r2.values[:dim] == pytest.approx([base + 0.001 * k for k in range(dim)])
        assert found.acceleration_r2.values[:dim] == pytest.approx([0.3 * base + 0.001 * k for k in range(dim)])
        size = sweep.model(cell).message_size(dim)
        assert found.message_std.values[:size] == pytest.approx([1 / (k + 1) for k in range(size)])
        assert np.isnan(found.message_std.values[size:]).all()
        assert json.loads(found.constants.values[0]) == {"rest_length": 1.0, "softening": 0.01}
        assert found.engine.item() == "operon"
        assert found.device.item() == "cpu"
        assert found.train_seconds.item() >= 0
        assert json.loads(found.versions.item())["numpy"] == np.__version__


def test_fronts_are_kept_whole(finished: Any) -> None:
    equations = opened(finished)["equations"].to_dataset()
    equations = equations.sel(cell="r^-1-3d-4b-s5/bottleneck-s1", engine="operon", function="message", component=1)
    assert equations.expression.values.tolist() == [entry["expression"] for entry in front(1)]
    assert equations.mae.values.tolist() == [entry["mae"] for entry in front(1)]
    assert equations.chosen.values.tolist() == [0, 0, 1, 0]
    assert equations.passes.values.tolist() == [0, 0, 1, 1]


def test_the_root_says_where_it_comes_from(finished: Any) -> None:
    sweep = finished
    attributes = opened(sweep).attrs
    assert json.loads(attributes["config"]) == sweep.config.model_dump(mode="json")
    assert attributes["config_hash"] == sweep.config_hash
    assert json.loads(attributes["versions"])["xarray"] == xr.__version__
    assert attributes["git_commit"]


def test_every_variable_is_described_and_has_units(finished: Any) -> None:
    tree = opened(finished)
    for group, columns in (("cells", CELLS), ("equations", EQUATIONS)):
        assert set(tree[group].to_dataset().data_vars) == {column.name for column in columns}
        for name, variable in tree[group].to_dataset().data_vars.items():
            assert variable.attrs["description"], name
            assert (variable.dtype.kind == "f") == ("units" in variable.attrs), name


@pytest.mark.slow
def test_what_is_not_finished_stands_there_with_its_reason(sweep: Any) -> None:
    whole, half, diverged, failed, damaged, stale, broken, _never = sweep.cells
    fabricate(sweep, whole)
    fabricate(sweep, half, until="interpret")
    end(sweep, diverged, "train", "diverged", "loss was NaN at step 7")
    end(sweep, failed, "distill", "failed", "every fit failed")
    fabricate(sweep, damaged)
    path = damaged.outcome(sweep.results, "interpret")
    path.write_bytes(path.read_bytes()[:200])
    fabricate(sweep, stale)
    path = stale.outcome(sweep.results, "verify")
    path.write_text(path.read_text().replace(sweep.key("verify", stale), "0123456789abcdef"))
    fabricate(sweep, broken, until="train")
    broken.outcome(sweep.results, "interpret").with_suffix(".failure").write_text('{"reason": "out of memory"}')

    assert collect(sweep) == {"diverged": 1, "failed": 3, "missing": 3, "ok": 1}
    assert not (sweep.results / "sweep.json").exists(), "an unfinished sweep must not pass for a finished one"
    expected = {
        half: ("missing", "distill: has not run"),
        diverged: ("diverged", "train: loss was NaN at step 7"),
        failed: ("failed", "distill: every fit failed"),
        damaged: ("failed", "interpret: interpret.json: damaged"),
        stale: ("missing", "verify: made with other settings"),
        broken: ("failed", "interpret: out of memory"),
        _never: ("missing", "train: has not run"),
    }
    for cell, (status, reason) in expected.items():
        found = at(sweep, cell)
        assert found.status.item() == status
        assert found.reason.item().startswith(reason)
        assert str(sweep.results) not in found.reason.item()
    assert at(sweep, half).test_mae.item() == pytest.approx(0.051)
    assert np.isnan(at(sweep, _never).test_mae.item())
    assert np.isnan(at(sweep, stale).recovered.item())
    assert at(sweep, stale).equation.values[0] == LAWS[0]


@pytest.mark.slow
def test_an_outcome_of_another_shape_or_version_fails_its_cell_only(sweep: Any) -> None:
    changes: list[tuple[Any, dict[str, Any]]] = [
        ("interpret", {"test_mae": "small"}),
        ("interpret", {"fits": {"std": {}}}),
        ("distill", {"components": [{"component": 0}]}),
        ("replace", {"errors": {"raw": {}}}),
        ("verify", {"recovered": True, "form": 3}),
        ("train", {"parameters": [1]}),
    ]
    for cell, (stage, change) in zip(sweep.cells, changes, strict=False):
        fabricate(sweep, cell, **{stage: change})
    versions = (b"[]", json.dumps({"key": sweep.key("train", sweep.cells[7]), "status": "ok", "more": 1}).encode())
    for cell, version in zip(sweep.cells[6:], versions, strict=True):
        fabricate(sweep, cell)
        cell.outcome(sweep.results, "train").write_bytes(version)
    assert collect(sweep) == {"failed": 8}
    for cell, (stage, _) in zip(sweep.cells, changes, strict=False):
        assert at(sweep, cell).reason.item().startswith(f"{stage}: {stage}.json lacks")
    for cell in sweep.cells[6:]:
        assert "another version" in at(sweep, cell).reason.item()


@pytest.mark.slow
def test_fits_of_what_is_distilled_stand_beside_those_of_both_readings(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell, distill={"reading": "principal"})
    path = cell.outcome(sweep.results, "interpret")
    content = json.loads(path.read_text())
    content["result"]["fits"]["distilled"]["force"]["r2"][0] = 0.25
    path.write_text(json.dumps(content))
    collect(sweep)
    found = at(sweep, cell)
    assert found.reading.item() == "principal"
    assert found.std_force_r2.values[0] == pytest.approx(0.99)
    assert found.principal_force_r2.values[0] == pytest.approx(0.99 / 2)
    assert found.force_r2.values[0] == 0.25


@pytest.mark.slow
def test_components_are_placed_by_their_number(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    path = cell.outcome(sweep.results, "distill")
    content = json.loads(path.read_text())
    content["result"]["components"].reverse()
    path.write_text(json.dumps(content))
    collect(sweep)
    assert at(sweep, cell).equation.values[:2].tolist() == list(LAWS[:2])


def test_combinations_outside_the_sweep_are_marked(finished: Any) -> None:
    sweep = finished
    status = opened(sweep)["cells"].status
    assert status.sel(system="spring", dim=3).values.ravel().tolist() == ["unplanned"] * 8
    assert int((status != "unplanned").sum()) == len(sweep.cells)
    assert status.dims == ("system", "dim", "bodies", "data_seed", "model", "seed")
    assert status.seed.values.tolist() == [1, 3]
    assert status.system.values.tolist() == ["spring", "r^-1"]


def test_experiments_that_share_nothing_are_refused_with_advice(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_COMBINATIONS", 15)
    with pytest.raises(DistilleryError, match=r"span 32 combinations for 8 cells.*two sweeps"):
        collect(sweep)


def content(sweep: Any) -> dict[str, bytes]:
    folder = (sweep.results / "sweep.zarr").resolve()
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_equal_outcomes_give_equal_bytes(sweep: Any) -> None:
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    first, marker = content(sweep), (sweep.results / "sweep.json").read_bytes()
    assert json.loads(marker)["key"] == sweep.collect_key
    collect(sweep)
    assert content(sweep) == first
    assert (sweep.results / "sweep.json").read_bytes() == marker


@pytest.mark.slow
def test_the_results_folder_can_be_moved(sweep: Any, tmp_path: Path) -> None:
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    shown = results_table(sweep.results)
    shutil.move(sweep.results, tmp_path / "elsewhere")
    assert results_table(tmp_path / "elsewhere") == shown


@pytest.mark.slow
def test_the_table_shows_each_cell_and_component(sweep: Any) -> None:
    for cell in sweep.cells[:-1]:
        fabricate(sweep, cell)
    collect(sweep)
    lines = results_table(sweep.results).splitlines()
    expected = [
        "spring-2d-4b-s0",
        "bottleneck",
        "1",
        "0.051",
        "(0.026)",
        "0.990",
        "0.992",
        "0.297",
        "0.299",
        "yes,",
        "as",
        "force",
    ]
    assert lines[2].split()[:12] == expected
    assert lines[0].split()[3:6] == ["test", "error", "(median)"]
    assert lines[2].endswith("2.1*dx*(1 - 1/r)")
    assert lines[3].split()[-1] == "0.013"
    assert any(line.split()[:3] == ["r^-1-3d-4b-s5", "standard", "3"] for line in lines)
    assert "4 of 8 cells recovered" in lines[-1]


@pytest.mark.slow
def test_the_table_says_that_a_law_was_found_but_not_chosen(sweep: Any) -> None:
    cell = sweep.cells[0]
    missed = {"component": 0, "recovered": False, "form": None, "expression": "dx", "complexity": 1}
    missed |= {"median_residual": 0.5, "p90_residual": 0.9, "constants": {}, "others": [3]}
    judged = [missed, {**missed, "component": 1}]
    fabricate(sweep, cell, verify={"recovered": False, "form": None, "components": judged})
    collect(sweep)
    assert "no, but on front" in results_table(sweep.results)
    judged[1]["others"] = []
    fabricate(sweep, cell, verify={"recovered": False, "form": None, "components": judged})
    collect(sweep)
    assert "no, but on front" not in results_table(sweep.results)
    together = {"recovered": True, "form": "force", "expressions": ["dx*(1 - 1/r)", "dy*(1 - 1/r)"]}
    fabricate(sweep, cell, verify={"recovered": False, "form": None, "components": judged, "together": together})
    collect(sweep)
    assert "no, but together" in results_table(sweep.results)
    answer = query(sweep.results, columns=["recovered_together", "equation_together"])
    assert (True, ["dx*(1 - 1/r)", "dy*(1 - 1/r)"]) in answer.rows


@pytest.mark.slow
def test_the_reason_of_a_verdict_is_a_column_and_stands_under_the_table(sweep: Any) -> None:
    other, cell = sweep.cells[0], sweep.cells[1]
    whole = {"data_from": 0.1, "data_to": 6.0, "agrees_from": 0.001, "agrees_to": 600.0}
    everywhere = "recovered within the data (r = 0.1 … 6), agrees from r = 0.001 to 600, as far as compared"
    fabricate(sweep, other, verify={"extent": everywhere, "range": whole})
    why = "component 1: differs at r = 1.9 … 2.1, where 0.02 of the pairs are, by 80% of the force"
    missed = {"recovered": False, "form": None, "reason": why, "extent": "", "range": {**whole, "agrees_to": None}}
    fabricate(sweep, cell, verify=missed)
    collect(sweep)
    lines = results_table(sweep.results).splitlines()
    (line,) = [line for line in lines if line.endswith("by 80% of the force")]
    assert line.split()[:3] == [str(cell.experiment), cell.model, str(cell.seed)]
    assert any("why not" in line for line in lines)
    assert not any("as far as compared" in line for line in lines)
    asked = ["verdict_reason", "extent", "data_from", "data_to", "agrees_from", "agrees_to"]
    found = dict(zip(asked, query(sweep.results, [f"cell={cell}"], columns=asked).rows[0], strict=True))
    assert found == {
        "verdict_reason": why,
        "extent": "",
        "data_from": 0.1,
        "data_to": 6.0,
        "agrees_from": 0.001,
        "agrees_to": None,
    }
    assert query(sweep.results, [f"cell={other}"], columns=["extent"]).rows == ((everywhere,),)


@pytest.mark.slow
def test_models_without_messages_stand_in_store_and_table(make_sweep: Any) -> None:
    sweep = make_sweep(models=["bottleneck", "flathgn", "control"])
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    found = [at(sweep, cell) for cell in sweep.cells]
    assert [(cell.equation.values != "").sum() for cell in found] == [2, 1, 2]
    assert [(cell.node_equation.values != "").sum() for cell in found] == [2, 1, 0]
    assert [cell.form.item() for cell in found] == ["force", "energy", "acceleration"]
    assert [cell.node_recovered.item() for cell in found][:2] == [1.0, 1.0]
    assert np.isnan(found[2].node_recovered.item())
    assert np.isnan(found[2].test_mae.item())
    assert found[2].composed_mae.item() == pytest.approx(1.1 * 0.052)
    assert found[0].principal_force_r2.values == pytest.approx([0.495, 0.496])
    assert found[0].std_force_r2.values == pytest.approx(found[0].force_r2.values)
    assert found[0].std_r2_gauge_free.values == pytest.approx([0.999] * 2)
    lines = results_table(sweep.results).splitlines()
    # And the best law, with its heading, between empty lines.
    assert len(lines) == 2 + 2 + 1 + 2 + (1 + 2 + 1) + 2
    assert "yes, as energy" in lines[4]
    assert lines[5].split()[1:8] == ["control", "0", "–", "–", "–", "–", "–"]
    assert lines[-1] == "3 of 3 cells recovered"


def test_operators_of_an_engine_are_asked_of_every_experiment(make_sweep: Any) -> None:
    from distillery.workflow.engines import require_all

    experiments = [{"system": "spring"}, {"system": "charge", "operators": ["+", "nonsense"]}]
    with pytest.raises(DistilleryError, match=r"experiments\.1\.operators"):
        require_all(make_sweep(experiments=experiments))


def test_the_table_fits_a_terminal_and_cuts_nothing_elsewhere() -> None:
    names = ("experiment", "model", "seed", "status", "reason", "test_mae", "test_medae", "force_r2")
    names = (
        *names,
        "force_r2_robust",
        "acceleration_r2",
        "acceleration_r2_robust",
        "recovered",
        "form",
        "on_front",
        "verdict_reason",
        "extent",
        "equation",
    )
    long = " + ".join(f"1.2345678*dx**{n}" for n in range(20))
    ok = ("spring-2d-4b-s0", "l1", 0, "ok", "", 0.1, None, [-50.0, None], *[[0.5, 0.5]] * 3, True, "force")
    parts = [f"error_{part}_{kind}" for part in ("network", "raw", "refitted", "clean") for kind in ("mae", "medae")]
    names = (*names, "law", "law_form", *parts)
    table = Table(names, ((*ok, [True, True], "", "", [long, ""], "a = b", "raw", *[0.2, 0.1] * 4),))
    for width in (120, 100):
        narrow = format_results(table, width)
        assert max(map(len, narrow.splitlines())) <= width
        assert narrow.count("1.23*dx^") == 20
        assert "equation per component" in " ".join(narrow.split())
        # The numbers stand whole, and so does the law behind them.
        assert "0.1 (–)" in narrow
        assert narrow.split()[-8:-5] == ["a", "=", "b"]
        assert narrow.count("0.2 (0.1)") == 2
    wide = format_results(table)
    assert "< -1" in wide
    assert "no expression" in wide
    assert long.replace("1.2345678", "1.23").replace("**", "^") in wide


@pytest.mark.slow
def test_the_best_law_of_every_experiment_stands_below(sweep: Any) -> None:
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    shown = results_table(sweep.results, width=200)
    below = shown[shown.index("best law in a network's place") : shown.index("why not")]
    for experiment in {str(cell.experiment) for cell in sweep.cells}:
        (line,) = [line for line in below.splitlines() if line.startswith(experiment)]
        assert line.endswith("a = Σ Δ*(-2 + 1.980/r)/m1")
        # The law of the first cell is the best of its experiment: mean and, in brackets, median, of network and law.
        error = 0.05 + 0.001 * min(i for i, cell in enumerate(sweep.cells) if str(cell.experiment) == experiment)
        clean = 9e-4 * error
        for told in (f"{error:.2g} ({error / 2:.2g})", f"{clean:.2g} ({clean / 2:.2g})"):
            assert f" {told} " in line


def redrawn(sweep: Any, experiment: Any, **redraws: Any) -> None:
    """Say that an experiment is simulated, and how often it was drawn again."""
    for split, count in redraws.items():
        known = {} if count is None else {"redraws": count}
        files.write_json(experiment.marker(sweep.results, split), {"key": sweep.data_key(experiment, split), **known})
        experiment.store(sweep.results, split).mkdir()


@pytest.mark.slow
def test_simulations_that_were_drawn_again_are_counted(sweep: Any) -> None:
    spring, other = sweep.experiments
    redrawn(sweep, spring, train=31, test=0)
    # As of halos, which are not drawn again; and of a damaged marker.
    redrawn(sweep, other, train=None, test="many")
    fabricate(sweep, sweep.cells[0])
    collect(sweep)
    columns = ["experiment", "redraws_train", "redraws_test"]
    counts = {name: (train, test) for name, train, test in query(sweep.results, columns=columns).rows}
    assert counts == {str(spring): (31.0, 0.0), str(other): (None, None)}
    assert len(query(sweep.results, ["redraws_train>30"], columns=["cell"]).rows) == 4
    # Trajectories may be gone, and what they lack is still known; of other settings nothing is.
    shutil.rmtree(spring.store(sweep.results, "train"))
    files.write_json(spring.marker(sweep.results, "test"), {"key": "another", "redraws": 7})
    collect(sweep)
    assert query(sweep.results, [f"experiment={spring}"], columns=columns).rows[0] == (str(spring), 31.0, None)


def test_versions_are_those_of_each_stage_where_they_differ(sweep: Any) -> None:
    cell = sweep.cells[0]
    fabricate(sweep, cell)
    path = cell.outcome(sweep.results, "train")
    outcome = json.loads(path.read_text())
    everywhere = outcome["provenance"]["versions"]["torch"]
    outcome["provenance"]["versions"] |= {"torch": "9.9+cu999", "only-there": "1"}
    path.write_text(json.dumps(outcome))
    collect(sweep)
    (answer,) = query(sweep.results, [f"cell={cell}"], columns=["versions"]).rows
    found = json.loads(answer[0])
    assert found["torch"] == {stage: "9.9+cu999" if stage == "train" else everywhere for stage in STAGES}
    assert found["numpy"] == np.__version__
    assert found["only-there"] == "1"


def test_numbers_in_equations_are_rounded_and_nothing_else() -> None:
    assert readable("1.99999*dx**2*m1/(r + 0.0100001)") == "2*dx^2*m1/(r + 0.01)"
    assert readable("-1.23456e-05*q1 + 12*m2 - 123456.7*r") == "-1.23e-5*q1 + 12*m2 - 1.23e5*r"
    assert readable("r**1.5 + m1*2") == "r^1.5 + m1*2"


@pytest.mark.slow
def test_results_of_earlier_versions_are_collected_without_false_drifts(make_sweep: Any) -> None:
    """Earlier versions measured energies that the true motion does not keep, and no doubling times."""
    sweep = make_sweep(experiments=[{"system": "spring"}, {"system": "discontinuous"}], models=["bottleneck"])
    for cell in sweep.cells:
        result = generalised(sweep, network=True, error=0.1)
        for own in result["rollouts"]["predictors"].values():
            del own["doubling_time"]
        fabricate(sweep, cell, generalise=result)
    collect(sweep)
    found = {
        cell.split("-")[0]: (drift, doubling)
        for cell, drift, doubling in query(
            sweep.results,
            ["condition=long times", "predictor=network"],
            rows="conditions",
            columns=["cell", "energy_drift", "doubling_time"],
        ).rows
    }
    assert found == {"spring": (0.8, None), "discontinuous": (None, None)}
