"""A force confined to a region is found from the residuals of a law, with its edge, and never without residuals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from distillery.laws import text
from distillery.laws.compose import composed_energies
from distillery.laws.law import Law, as_content, from_content, momentum_names
from distillery.laws.problem import Data
from distillery.laws.residual_region import Region, find_region, with_region, without_region
from distillery.laws.shown import accelerations
from distillery.networks.functions import AXES, feature_names
from distillery.physics import formula
from support.laws import graphs, law

COUNT = 2000
AT = np.array([0.3, 0.7, 2.0])


def spring(dim: int = 2) -> Law:
    axes = AXES[:dim]
    return law(tuple(f"d{a}*(-2 + 1.98/r)/m1" for a in axes), tuple(f"s{k + 1}" for k in range(dim)), dim)


def energies() -> Law:
    pair, body = "r*(r - 1.98)", "px^2/(2*m) + py^2/(2*m)"
    return composed_energies(
        formula.parse(pair, feature_names(2)), formula.parse(body, momentum_names(2)), 2, unit_charges=True
    )


def feeling(accelerations_: tuple[str, ...]) -> Data:
    """Return bodies of a spring with additional accelerations, rounded as stored trajectories are."""
    data = graphs(dim=len(accelerations_), count=COUNT)
    names = ("m", "q", *(f"{kind}{axis}" for axis in AXES for kind in ("", "v")))
    own = [formula.evaluate(formula.parse(one, names), data.graphs.nodes) for one in accelerations_]
    added = np.stack([np.broadcast_to(one, data.graphs.mass.shape) for one in own], axis=-1)
    return lacking(data, added)


def lacking(data: Data, added: np.ndarray) -> Data:
    true = (data.graphs.acceleration + added).astype(np.float32).astype(np.float64)
    return dataclasses.replace(data, graphs=dataclasses.replace(data.graphs, acceleration=true))


def ball(force: str, place: tuple[float, ...], radius: float, beyond: bool = False) -> tuple[str, ...]:
    distance = f"sqrt({' + '.join(f'({a} - ({c}))**2' for a, c in zip(AXES, place, strict=False))})"
    where = f"{distance} {'>' if beyond else '<'} {radius}"
    return tuple(
        f"({force.replace('u', distance)})*({a} - ({c}))/{distance} if {where} else 0"
        for a, c in zip(AXES, place, strict=False)
    )


CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "hard ball": (
        ball("40*(0.5 - u)/m", (1.5, -1.0), 0.5),
        {"edge": 0.5, "inside": True, "profile": "20 - 40*distance", "factor": "1/m"},
    ),
    "hard ball in space": (
        ball("400*(0.8 - u)/m", (0.25, -1.0, 1.0), 0.8),
        {"edge": 0.8, "inside": True, "profile": "320 - 400*distance", "factor": "1/m"},
    ),
    "wall": (
        ("(-30*(x - 1.7))/m if x > 1.7 else 0", "0"),
        {"edge": 1.7, "inside": False, "profile": "51 - 30*distance", "factor": "1/m"},
    ),
    "field with an edge": (
        ("0", "-2 if y < -1.6 else 0"),
        {"edge": -1.6, "inside": True, "profile": "-2", "factor": "1"},
    ),
    "charge that is felt nearby": (
        ball("0.3*q/(m*u^2)", (-1.0, 1.0), 0.6),
        {"edge": 0.6, "inside": True, "profile": "0.3/distance^2", "factor": "q/m"},
    ),
    "large ball": (
        ball("40*(60 - u)/m", (0.0, -61.6), 60.0),
        {"edge": 60.0, "inside": True, "profile": "2400 - 40*distance", "factor": "1/m"},
    ),
    "force that falls with a coordinate": (
        ("-1/(x*m) if x < -1.6 else 0", "0"),
        {"edge": -1.6, "inside": True, "profile": "-1/distance", "factor": "1/m"},
    ),
    "net beyond": (
        ball("-7*(u - 2.5)", (0.0, 0.0), 2.5, beyond=True),
        {"edge": 2.5, "inside": False, "profile": "17.5 - 7*distance", "factor": "1"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_acts_in_some_places_is_found(name: str) -> None:
    added, expected = CASES[name]
    data, known = feeling(added), spring(len(added))
    found = find_region(known, data)
    assert found is not None
    # If a force begins at zero, its root gives the edge to rounding; otherwise the edge lies between two bodies.
    begins = float(formula.evaluate(formula.parse(expected["profile"], ("distance",)), {"distance": expected["edge"]}))
    assert found.edge == pytest.approx(expected["edge"], abs=0.02 if begins else 1e-6)
    assert found.inside is expected["inside"]
    true = formula.parse(expected["profile"], ("distance",))
    values = [np.broadcast_to(formula.evaluate(e, {"distance": AT}), AT.shape) for e in (found.profile, true)]
    np.testing.assert_allclose(*values, atol=1e-3)
    assert len(found.profile.as_ordered_terms()) == len(true.as_ordered_terms())
    assert found.factor == formula.parse(expected["factor"], ("m", "q"))
    off = np.abs(accelerations(with_region(known, found), data.graphs) - data.graphs.acceleration)
    assert np.quantile(off, 0.999) < 1e-4
    rest = without_region(data, found).graphs.acceleration
    assert np.quantile(np.abs(accelerations(known, data.graphs) - rest), 0.999) < 1e-4


def test_of_energies_too_a_law_is_rebuilt_from_text_where_coordinates_are_negative() -> None:
    data, known = feeling(CASES["force that falls with a coordinate"][0]), energies()
    found = find_region(known, data)
    assert found is not None
    whole = from_content(as_content(with_region(known, found)), "law.json")
    off = np.abs(accelerations(whole, data.graphs) - data.graphs.acceleration)
    assert np.quantile(off, 0.999) < 1e-4
    body = whole.filled(whole.energies)[1]
    at = dict.fromkeys(("px", "py", "q", "y"), 0.0) | {"m": 2.0}
    assert float(formula.evaluate(body, at | {"x": -2.6})) == pytest.approx(np.log(2.6 / 1.6), abs=0.01)


def test_bodies_without_a_charge_feel_nothing_of_it_and_break_nothing() -> None:
    data = graphs(count=COUNT)
    data.graphs.charge[::40] = 0.0
    names = ("m", "q", "x", "y")
    for name, factor in (("hard ball", "1/m"), ("charge that is felt nearby", "q/m")):
        own = [formula.evaluate(formula.parse(one, names), data.graphs.nodes) for one in CASES[name][0]]
        found = find_region(spring(), lacking(data, np.stack(own, axis=-1)))
        assert found is not None
        assert found.factor == formula.parse(factor, ("m", "q"))


def test_close_encounters_where_rounding_is_large_hide_nothing() -> None:
    data = graphs("charge", count=COUNT)
    near = law(("q1*q2*dx/(m1*r*(r + 0.01)^2)", "q1*q2*dy/(m1*r*(r + 0.01)^2)"), ("s1", "s2"))
    names = ("m", "q", "x", "y")
    own = [formula.evaluate(formula.parse(one, names), data.graphs.nodes) for one in CASES["hard ball"][0]]
    # Positions are stored rounded too, which matters more for close bodies.
    rough = dataclasses.replace(data.graphs, position=data.graphs.position.astype(np.float32).astype(np.float64))
    felt = lacking(data, np.stack(own, axis=-1))
    stored = dataclasses.replace(rough, acceleration=felt.graphs.acceleration)
    found = find_region(near, dataclasses.replace(data, graphs=stored))
    assert found is not None
    assert found.edge == pytest.approx(0.5, abs=1e-4)


def test_a_stranger_hides_nothing() -> None:
    data = feeling(CASES["hard ball"][0])
    data.graphs.acceleration[3, 1] += 7.0
    assert find_region(spring(), data) is not None


def test_of_energies_it_is_a_potential_that_is_zero_at_the_edge() -> None:
    added, _ = CASES["hard ball"]
    data, known = feeling(added), energies()
    found = find_region(known, data)
    assert found is not None
    whole = with_region(known, found)
    off = np.abs(accelerations(whole, data.graphs) - data.graphs.acceleration)
    assert np.quantile(off, 0.999) < 1e-4
    body = whole.filled(whole.energies)[1]
    at = dict.fromkeys(("px", "py", "q"), 0.0) | {"m": 2.0, "y": -1.0}
    values = [float(formula.evaluate(body, at | {"x": 1.5 + u})) for u in (0.1, 0.4999, 0.6)]
    np.testing.assert_allclose(values, [20 * 0.4**2, 20 * 0.0001**2, 0.0], atol=1e-4)


def test_a_law_with_a_region_is_rebuilt_from_text_and_shown() -> None:
    region = Region(
        formula.symbol("x"), 1.7, False, formula.parse("51 - 30*distance", ("distance",)), 1 / formula.symbol("m")
    )
    whole = with_region(spring(), region)
    rebuilt = from_content(as_content(whole), "law.json")
    data = feeling(CASES["wall"][0])
    np.testing.assert_array_equal(accelerations(rebuilt, data.graphs), accelerations(whole, data.graphs))
    assert "if x > 1.700 else (0)" in text.line(whole)


def test_a_module_of_such_a_law_gives_the_same() -> None:
    torch = pytest.importorskip("torch")
    from distillery.laws.module import LawModule

    data, known = feeling(CASES["hard ball"][0]), spring()
    found = find_region(known, data)
    assert found is not None
    whole, one = with_region(known, found), data.graphs
    nodes = np.concatenate([one.position, one.velocity, one.charge[..., None], one.mass[..., None]], axis=-1)
    given = LawModule(whole)(torch.from_numpy(nodes)).detach().numpy()
    np.testing.assert_allclose(given, accelerations(whole, one), rtol=1e-9, atol=1e-9)


def test_a_law_that_lacks_nothing_has_no_region() -> None:
    assert find_region(spring(), feeling(("0", "0"))) is None


def test_a_law_that_is_a_little_wrong_everywhere_has_no_region() -> None:
    wrong = law(("dx*(-2 + 1.9797/r)/m1", "dy*(-2 + 1.9797/r)/m1"), ("s1", "s2"))
    assert find_region(wrong, feeling(CASES["hard ball"][0])) is None


@pytest.mark.parametrize(("edge", "some"), [(0.65, True), (0.4, False)])
def test_what_most_bodies_feel_is_no_matter_of_places(edge: float, some: bool) -> None:
    # Shares of normal coordinates beyond the edge: 26 and 34 %.
    assert (find_region(spring(), feeling((f"5 if x > {edge} else 0", "0"))) is not None) is some


def test_what_too_few_bodies_feel_says_nothing() -> None:
    data = feeling(("5 if x > 3.1 else 0", "0"))
    felt = int((data.graphs.position[..., 0] > 3.1).sum())
    assert 0 < felt < 20
    assert find_region(spring(), data) is None


@pytest.mark.parametrize(
    "added",
    [
        ("8*vy if (x - 1.5)**2 + (y + 1)**2 < 0.25 else 0", "-8*vx if (x - 1.5)**2 + (y + 1)**2 < 0.25 else 0"),
        ("(4*y^3 - 6*y)/m if x > 1.7 else 0", "0"),
        ("5 if vx > 2.2 else 0", "0"),
    ],
    ids=["sideways", "not of the distance alone", "not a place"],
)
def test_what_is_no_force_of_a_place_is_not_taken_for_one(added: tuple[str, ...]) -> None:
    assert find_region(spring(), feeling(added)) is None


def test_wild_errors_of_single_bodies_are_no_region() -> None:
    data, draws = graphs(count=COUNT), np.random.default_rng(1)
    wild = (draws.random((COUNT, 4)) < 0.02)[..., None] * draws.normal(size=(COUNT, 4, 2))
    assert find_region(spring(), lacking(data, wild)) is None


def test_what_only_some_simulations_lack_is_no_law() -> None:
    data = feeling(CASES["hard ball"][0])
    true, known = data.graphs.acceleration, accelerations(spring(), data.graphs)
    odd = (data.simulation % 2 == 1)[:, None, None]
    # In the other simulations the residual points in the opposite direction.
    mixed = dataclasses.replace(data.graphs, acceleration=np.where(odd, true, 2 * known - true))
    assert find_region(spring(), dataclasses.replace(data, graphs=mixed)) is None
