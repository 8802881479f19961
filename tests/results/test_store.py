"""A result store as a notebook opens it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from distillery.errors import DistilleryError
from distillery.results.store import open_results
from distillery.workflow.stages.collect import collect
from support.fabricate import LAWS, fabricate


@pytest.mark.slow
def test_a_results_folder_and_its_store_open_alike(make_sweep: Any, tmp_path: Path) -> None:
    sweep = make_sweep(models=["bottleneck", "standard"])
    for cell in sweep.cells:
        fabricate(sweep, cell)
    with pytest.raises(DistilleryError, match="there is no result store yet"):
        open_results(sweep.results)
    collect(sweep)
    shutil.copytree(sweep.results / "sweep.zarr", tmp_path / "alone" / "sweep.zarr")
    for path in (sweep.results, str(sweep.results / "sweep.zarr"), tmp_path / "alone"):
        results = open_results(path)
        assert results.cells.sel(sweep.cells[0].coordinates).status.item() == "ok"
        assert LAWS[0] in results.equations.expression.values
        assert set(results.conditions.dims) == {"cell", "condition", "predictor"}
        assert results.query("recovered=yes", columns=["cell"]).cell.tolist() == [str(sweep.cells[0])]
        assert results.query(sql="SELECT count(*) AS n FROM equations").n.item() == 24
        lines = repr(results).splitlines()
        assert lines[1].split()[:3] == ["experiment", "model", "cells"]
        assert lines[3].split()[:5] == ["spring-2d-4b-s0", "bottleneck", "1", "1", "1"]
        assert "<td>bottleneck</td>" in results._repr_html_()
        (axes,) = results.plot().axes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["bottleneck", "standard"]
        results.tree.close()


@pytest.mark.slow
def test_an_opened_store_stays_the_same_after_the_next_collect(make_sweep: Any) -> None:
    sweep = make_sweep()
    collect(sweep)
    results = open_results(sweep.results)
    fabricate(sweep, sweep.cells[0])
    collect(sweep)
    assert results.query(columns=["status"]).status.tolist() == ["missing"]
    assert open_results(sweep.results).query(columns=["status"]).status.tolist() == ["ok"]
