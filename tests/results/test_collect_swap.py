"""A reader never sees half a store, and a failed write leaves the old one."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from distillery.errors import DistilleryError
from distillery.results import parquet, rows
from distillery.results.reading import read_cells
from distillery.results.swap import swapping
from distillery.workflow.stages.collect import collect
from support.fabricate import fabricate


def stores(results: Path) -> list[Path]:
    return [path for path in results.glob(".sweep-*") if path.is_dir()]


@pytest.mark.slow
def test_a_reader_sees_the_old_store_or_the_new_one(make_sweep: Any) -> None:
    sweep = make_sweep()

    def publish(generation: int) -> None:
        for cell in sweep.cells:
            fabricate(sweep, cell, interpret={"test_mae": float(generation), "test_medae": float(generation)})
        collect(sweep)

    publish(0)
    done = threading.Event()
    seen: list[float] = []
    problems: list[str] = []

    def watch() -> None:
        while not done.is_set():
            try:
                frame = read_cells(sweep.results)
                values = {*frame.columns["test_mae"].tolist(), *frame.columns["test_medae"].tolist()}
                with xr.open_datatree((sweep.results / "sweep.zarr").resolve(), engine="zarr") as tree:
                    tree["cells"].test_mae.load()
            except Exception as error:
                problems.append(repr(error))
                return
            if len(values) != 1:
                problems.append(f"mixed: {values}")
                return
            seen.append(values.pop())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for generation in range(1, 4):
        publish(generation)
    done.set()
    watcher.join()
    assert problems == []
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert len(stores(sweep.results)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_store(
    make_sweep: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    sweep = make_sweep()
    fabricate(sweep, sweep.cells[0])
    collect(sweep)
    marker = (sweep.results / "sweep.json").read_bytes()
    before = stores(sweep.results)
    sweep.cells[0].outcome(sweep.results, "verify").unlink()
    write = rows.write_tables

    def half(collection: Any, folder: Path) -> None:
        write(collection, folder)
        (folder / "tables" / "cells.parquet").write_text("{")
        raise error

    monkeypatch.setattr(rows, "write_tables", half)
    expected = DistilleryError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        collect(sweep)
    if expected is DistilleryError:
        assert "No space left" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert stores(sweep.results) == before
    assert read_cells(sweep.results).columns["status"].tolist() == ["ok"]
    assert (sweep.results / "sweep.json").read_bytes() == marker
    monkeypatch.undo()
    collect(sweep)
    assert read_cells(sweep.results).columns["status"].tolist() == ["missing"]


@pytest.mark.slow
def test_leftovers_of_a_killed_collect_are_removed(make_sweep: Any) -> None:
    sweep = make_sweep()
    collect(sweep)
    (sweep.results / ".sweep-killed.zarr.part").mkdir()
    (sweep.results / ".sweep-killed.zarr.part" / "zarr.json").write_text("{")
    (sweep.results / ".sweep-killed.zarr.link").symlink_to(".sweep-killed.zarr")
    collect(sweep)
    assert not list(sweep.results.glob(".sweep-killed*"))
    assert len(stores(sweep.results)) == 2


@pytest.mark.slow
def test_a_folder_in_place_of_the_link_is_replaced(make_sweep: Any) -> None:
    sweep = make_sweep()
    (sweep.results / "sweep.zarr").mkdir(parents=True)
    (sweep.results / "sweep.zarr" / "old").write_text("a store copied with its links followed")
    collect(sweep)
    assert read_cells(sweep.results).rows == 1
    assert len(stores(sweep.results)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("instead", ["nothing", "its text"])
def test_a_store_is_found_in_a_copy_without_links(make_sweep: Any, instead: str) -> None:
    sweep = make_sweep()
    for cell in sweep.cells:
        fabricate(sweep, cell)
    collect(sweep)
    link = sweep.results / "sweep.zarr"
    name = str(link.readlink())
    link.unlink()
    if instead == "its text":
        # As archives and file systems without links keep them; the store before this one is there too.
        link.write_text(f"{name}\n")
        (sweep.results / ".sweep-older.zarr").mkdir()
    assert read_cells(sweep.results).rows == len(sweep.cells)
    collect(sweep)
    assert link.is_symlink()
    assert read_cells(sweep.results).rows == len(sweep.cells)


@pytest.mark.slow
def test_of_two_stores_without_a_link_none_is_guessed(make_sweep: Any) -> None:
    sweep = make_sweep()
    for _ in range(2):
        for cell in sweep.cells:
            fabricate(sweep, cell)
        collect(sweep)
    (sweep.results / "sweep.zarr").unlink()
    assert len(stores(sweep.results)) == 2
    with pytest.raises(DistilleryError, match=r"sweep\.zarr: .*run `distillery collect`"):
        read_cells(sweep.results)


def test_swaps_take_turns(tmp_path: Path) -> None:
    link = tmp_path / "numbers.zarr"

    def add(number: int) -> None:
        with swapping(link) as folder:
            (folder / "a.json").write_text(json.dumps(number))
            (folder / "b.json").write_text(json.dumps(number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((link / "a.json").read_text()) == json.loads((link / "b.json").read_text())
    assert len(list(tmp_path.glob(".numbers-*"))) == 2


@pytest.mark.slow
def test_the_reader_outlives_a_store_that_vanishes(make_sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two collects during one read take the store away under the reader; it begins again."""
    sweep = make_sweep()
    fabricate(sweep, sweep.cells[0])
    collect(sweep)
    verify, calls = parquet._verify, []

    def slow(*arguments: Any) -> Any:
        verify(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            collect(sweep)
            collect(sweep)

    monkeypatch.setattr(parquet, "_verify", slow)
    assert read_cells(sweep.results).columns["status"].tolist() == ["ok"]
