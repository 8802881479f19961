"""The library's face: ten lines find a law; laws are stored, rolled out, compared; own functions are distilled."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

import distillery as ds
from distillery.laws.law import Law
from distillery.physics import formula

ROOT = Path(__file__).parents[2]
QUICK = {"operon": {"population": 100, "generations": 20, "max_length": 15}}


@pytest.fixture(scope="module")
def springs() -> ds.Trajectories:
    return ds.simulate(ds.systems["spring"], simulations=60, snapshots=20, show_progress=False)


def law_of(*messages: str, nodes: tuple[str, ...] = ("s1", "s2"), **constants: float) -> ds.Law:
    names = ("dx", "dy", "r", "m1", "m2", "q1", "q2", "s1", "s2", "m", *constants)
    parse = lambda texts: tuple(formula.parse(text, names) for text in texts)  # noqa: E731
    return ds.Law(Law(2, parse(messages), parse(nodes), constants), {}, {})


@pytest.fixture
def spring() -> ds.Law:
    """The law of the system spring: rest length 1, softening 0.01."""
    return law_of("-2*dx*(1 - c1/r)/m1", "-2*dy*(1 - c1/r)/m1", c1=0.99)


def test_importing_the_face_loads_nothing_heavy() -> None:
    code = "import sys, distillery; print([m for m in ('torch', 'numpy', 'xarray', 'heyoka') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


def test_every_name_of_the_face_exists() -> None:
    for name in ds.__all__:
        assert getattr(ds, name) is not None
        assert name in dir(ds)
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = ds.nothing_of_that_name


def test_a_simulation_is_that_of_the_stage(springs: ds.Trajectories) -> None:
    again = ds.simulate(ds.systems["spring"], simulations=70, snapshots=20, show_progress=False)
    np.testing.assert_array_equal(again.position[:60], springs.position)
    assert springs.position.dtype == np.float32
    assert springs.acceleration_source == "formula"
    with pytest.raises(ds.DistilleryError, match="steps as a multiple of snapshots"):
        ds.simulate(ds.systems["spring"], snapshots=7)


@pytest.mark.parametrize(("rest", "recovered"), [(0.99, True), (1.3, False)])
def test_a_law_is_compared_with_the_known_one(springs: ds.Trajectories, rest: float, *, recovered: bool) -> None:
    law = law_of(f"-2*dx*(1 - {rest}/r)/m1", f"-2*dy*(1 - {rest}/r)/m1")
    found = ds.compare(law, ds.systems["spring"], springs)
    assert found.recovered == recovered
    assert ("yes, as acceleration" in repr(found)) == recovered
    assert bool(found.reason) != recovered
    assert len(found.plot().axes) == 1


def test_a_law_is_validated_by_data_alone(springs: ds.Trajectories, spring: ds.Law) -> None:
    good = ds.validate(spring, springs)
    assert good.holds
    assert good.mae is not None
    assert good.mae < 1e-3 * good.label_std
    assert good.horizon == pytest.approx(good.duration)
    bad = ds.validate(law_of("-2*dx/m1", "-2*dy/m1"), springs)
    assert not bad.holds
    assert bad.horizon is not None
    assert bad.horizon < good.horizon
    assert "no" in repr(bad)
    assert len(bad.plot().axes) == 2


def test_a_law_moves_bodies_as_the_integrator_does(springs: ds.Trajectories, spring: ds.Law) -> None:
    moved = spring.rollout(springs, steps=40)
    off = np.linalg.norm(moved.position - springs.position, axis=-1)
    assert np.median(off[:, -1]) < 1e-3
    np.testing.assert_allclose(spring.evaluate(springs), springs.acceleration, rtol=1e-3, atol=1e-3)
    with pytest.raises(ds.DistilleryError, match="not evenly spaced"):
        spring.rollout(springs, np.array([0.0, 1.0, 3.0]))


def test_a_law_comes_back_from_its_file_and_spares_other_files(tmp_path: Path, spring: ds.Law) -> None:
    law = dataclasses.replace(spring, errors={"c1": 0.01}, states={"c1": "ok"}, units={"position": "m"})
    law.save(tmp_path / "law.json")
    law.save(tmp_path / "law.json")
    back = ds.Law.load(tmp_path / "law.json")
    assert back.law == law.law
    assert (back.constants, back.errors, back.units) == ({"c1": 0.99}, {"c1": 0.01}, {"position": "m"})
    assert repr(back) == repr(law)
    other = tmp_path / "mine.json"
    other.write_text('{"mine": 1}')
    with pytest.raises(ds.DistilleryError, match=r"mine\.json: holds no law"):
        law.save(other)
    assert other.read_text() == '{"mine": 1}'


def test_a_law_is_printed_and_becomes_a_module(springs: ds.Trajectories, spring: ds.Law) -> None:
    import torch

    assert r"\boldsymbol{\Delta}" in spring.latex()
    assert spring._repr_latex_().startswith("$$")
    assert spring._repr_html_().count("<tr>") == 2
    assert len(spring.plot().axes) == 1
    body = np.stack([springs.charge, springs.mass], axis=-1)
    nodes = np.concatenate([springs.position[:, 0], springs.velocity[:, 0], body], axis=-1)
    found = spring.to_torch()(torch.tensor(nodes)).detach().numpy()
    np.testing.assert_allclose(found, spring.evaluate(springs)[:, 0], rtol=1e-9)


@pytest.mark.slow
def test_a_function_takes_the_place_of_the_network(springs: ds.Trajectories) -> None:
    def force(receivers: np.ndarray, senders: np.ndarray) -> np.ndarray:
        delta = receivers[:, :2] - senders[:, :2]
        return np.asarray(-2 * delta * (1 - 1 / np.linalg.norm(delta, axis=1, keepdims=True)))

    messages = ds.messages(force, springs, system=ds.systems["spring"])
    assert math.isnan(messages.attrs["test_mae"])
    assert float(messages.r2.min()) > 0.999
    front = ds.distill(messages, show_progress=False, **QUICK)
    assert {type(e) for e in front.chosen("message")} <= {sympy.Mul, sympy.Add}
    law = ds.fit_law(front, springs)
    assert ds.compare(law, ds.systems["spring"]).recovered
    assert "function" in repr(front)
    assert len(front.plot().axes) == 4


def test_a_function_of_another_shape_and_wrong_settings_are_refused(springs: ds.Trajectories) -> None:
    with pytest.raises(ds.DistilleryError, match="return one row per edge"):
        ds.messages(lambda receivers, _: receivers[:3], springs)
    wrong: Any = {"hidden": 0}
    with pytest.raises(ds.DistilleryError, match=r"^train: hidden: "):
        ds.train(springs, ds.models["bottleneck"], **wrong)
    with pytest.raises(ds.DistilleryError, match=r"^train: the model control has no network"):
        ds.train(springs, ds.models["control"])


@pytest.mark.slow
def test_the_ten_lines_recover_the_spring_in_a_fresh_kernel() -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples/spring.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    text = str(notebook.cells)
    assert "yes, as acceleration" in text or "yes, as force" in text
    assert "image/png" in text, "figures are shown"
    assert "<table>" in text


@pytest.mark.slow
def test_the_example_of_an_own_network_recovers_the_spring() -> None:
    source = importlib.util.spec_from_file_location("own_network", ROOT / "examples/own_network.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    assert ds.compare(module.main(), ds.systems["spring"]).recovered
