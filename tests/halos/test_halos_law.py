"""Laws of halos: evaluated as by hand, refitted to known constants, without poles, found again, written and read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import sympy

from distillery.errors import DistilleryError, NotFiniteError
from distillery.halos import refit as refitting
from distillery.halos.features import HaloGraph, message_names, node_names
from distillery.halos.forms import NAMES, form
from distillery.halos.found import composed, laws
from distillery.halos.generalisation import above, below, error_of
from distillery.halos.law import HaloLaw, as_content, from_content, read_law, row_sums, sums, write_law
from distillery.halos.poles import Domain, bounded, domain_of, has_poles
from distillery.halos.refit import refit
from distillery.halos.text import latex, line, listing
from distillery.physics import formula
from distillery.physics.singularities import guarded
from distillery.symbolic.complexity import complexity
from support import toyhalos

EVERYONE = np.arange(400)
TRUE = {
    "simple": {"c1": -0.3, "c2": 0.4, "c3": 0.05},
    "without mass": {"c1": -0.4, "c2": 40.0, "c3": 0.3, "c4": 1.5, "c6": 0.12, "c7": 6.0},
    "with mass": {"c1": -0.15, "c2": 3.0, "c3": 0.5, "c4": 0.4, "c6": 0.09, "c7": 8.0},
}


def toy(name: str, noise: float = 0.0, halos: int = 400) -> tuple[HaloLaw, HaloGraph]:
    law = form(name, toyhalos.SMOOTHING).having(TRUE[name])
    return law, toyhalos.graph(halos, law=law, noise=noise)


def law_of(message: str, node: str) -> HaloLaw:
    return composed(formula.parse(message, message_names()), formula.parse(node, node_names()))


def test_the_paper_s_formulas_are_what_they_say() -> None:
    graph = toyhalos.graph()
    edges = graph.neighbours.edges(EVERYONE)
    columns = graph.columns(edges)
    r, dv, m2 = columns["r"], columns["dv"], columns["m2"]
    mass, speed = graph.mass, graph.speed

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(edges.receiver, values, minlength=400)

    a = {"c5": 1.0, **TRUE["without mass"]}
    s = total((a["c4"] + dv) / (a["c5"] + (a["c6"] * r) ** a["c7"]))
    expected = {"without mass": a["c1"] + s / (a["c2"] + a["c3"] * s * speed)}
    b = {"c5": 1.0, **TRUE["with mass"]}
    s = total((b["c4"] + m2) / (b["c5"] + (b["c6"] * r) ** b["c7"]))
    expected["with mass"] = b["c1"] + s / (b["c2"] + b["c3"] * mass)
    expected["simple"] = -0.3 + (0.4 + 0.05 * mass) * total(m2 * (r < 10.0))
    for name, values in expected.items():
        assert np.allclose(form(name, 10.0).having(TRUE[name]).predict(graph, EVERYONE), values, rtol=1e-12)
    assert form("constant", 10.0).having({"c1": 0.7}).predict(graph, EVERYONE[:3]).tolist() == [0.7] * 3


def test_a_scale_beyond_all_numbers_is_left_a_factor() -> None:
    law = law_of("2.5e5*r^0.01*m2", "0.1 + 1.1*s")
    assert all(np.isfinite(value) for value in law.constants.values())
    assert law.message.has(formula.symbol("r"))


def test_sums_in_pieces_are_those_of_the_whole() -> None:
    law, graph = toy("with mass")
    chosen = EVERYONE[::-3]
    whole = sums(law.message, law.constants, graph, chosen)
    assert sums(law.message, law.constants, graph, chosen, most=100) == pytest.approx(whole, rel=1e-12)
    assert row_sums(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 0, 0, 1, 0])).tolist() == [0, 3, 0, 0, 4, 0]


@pytest.mark.parametrize("name", ["simple", "without mass", "with mass"])
def test_known_constants_are_found_again(name: str) -> None:
    true, graph = toy(name)
    found = refit(form(name, toyhalos.SMOOTHING), graph, EVERYONE, polish=0)
    assert found.error < 1e-4
    for constant in TRUE[name]:
        assert found.law.constants[constant] == pytest.approx(true.constants[constant], rel=0.02), constant
    assert not found.poles


def test_a_refit_minimises_the_mean_absolute_error() -> None:
    graph = toyhalos.graph()
    graph = dataclasses.replace(graph, overdensity=np.exp(np.random.default_rng(0).normal(size=400)))
    found = refit(form("constant", 10.0), graph, EVERYONE)
    # Not the mean, which is larger by half.
    assert found.law.constants["c1"] == pytest.approx(np.median(graph.overdensity), abs=0.02)
    assert found.error == pytest.approx(np.abs(graph.overdensity - np.median(graph.overdensity)).mean(), abs=1e-4)


@pytest.mark.slow
def test_noise_and_outliers_leave_constants_where_they_are() -> None:
    true, graph = toy("with mass", noise=0.02)
    wild = graph.overdensity.copy()
    wild[::20] += 5.0
    found = refit(form("with mass", 10.0), dataclasses.replace(graph, overdensity=wild), EVERYONE, polish=0)
    good = np.setdiff1d(EVERYONE, EVERYONE[::20])
    assert np.abs(found.law.predict(graph, good) - true.predict(graph, good)).mean() < 0.01


def test_derivatives_are_those_of_the_law() -> None:
    law, graph = toy("without mass")
    problem = refitting._Problem(law, graph, EVERYONE[:50])
    constants = np.array([law.constants[name] for name in law.free]) * 1.1
    values = problem.coordinates(constants)
    assert np.allclose(problem.natural(values), constants)
    assert np.count_nonzero(values != constants) == 3
    exact = problem.jacobian(values)
    for k, value in enumerate(values):
        step = 1e-6 * max(abs(value), 1e-3)
        ahead, behind = (problem.residual(values + sign * step * np.eye(len(values))[k]) for sign in (1, -1))
        assert np.allclose((ahead - behind) / (2 * step), exact[:, k], rtol=1e-4, atol=1e-7)


def test_what_is_not_kept_in_memory_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, graph = toy("with mass")
    kept = refit(form("with mass", 10.0), graph, EVERYONE, starts=1, polish=0)
    monkeypatch.setattr(refitting, "_KEPT_BYTES", 0)
    assert refit(form("with mass", 10.0), graph, EVERYONE, starts=1, polish=0) == kept


@pytest.mark.slow
def test_refits_repeat_and_keep_to_bounds() -> None:
    _, graph = toy("with mass", noise=0.1)
    # The data want a negative C3; the form must not have one.
    graph = dataclasses.replace(graph, overdensity=graph.overdensity + 2.0 * graph.mass)
    first, second = (
        refit(form("with mass", 10.0), graph, EVERYONE, halos=200, seed=3, starts=2, polish=20) for _ in range(2)
    )
    assert first == second
    assert first.halos == 200
    assert "c3" in first.at_bound
    assert first.law.constants["c3"] == pytest.approx(0.0, abs=1e-9)
    assert first.law.constants["c5"] == 1.0


def test_a_law_that_is_nowhere_finite_is_refused() -> None:
    _, graph = toy("simple")
    law = HaloLaw(formula.symbol("m2"), formula.parse("c1*log(0 - s)", ["s", "c1"]), {"c1": 1.0})
    with pytest.raises(NotFiniteError, match="is not finite on the halos"):
        refit(law, graph, EVERYONE)


def test_poles_are_found_where_there_are_some() -> None:
    domain = Domain({"r": (0.01, 25.0), "m2": (0.0, 10.0)}, {"s": (0.0, 5.0), "m": (0.0, 3.0), "v": (0.0, 1.0)})
    clean = HaloLaw(formula.parse("1/(2 + r^2)", ["r"]), formula.parse("s/(1 + m)", ["s", "m"]), {})
    assert not has_poles(clean, domain)
    assert has_poles(dataclasses.replace(clean, message=formula.parse("1/(r - 2)", ["r"])), domain)
    assert has_poles(dataclasses.replace(clean, node=formula.parse("s/(2 - m)", ["s", "m"])), domain)
    assert has_poles(dataclasses.replace(clean, node=formula.parse("log(s - 1)", ["s"])), domain)
    assert has_poles(dataclasses.replace(clean, message=formula.parse("(r - 2)^0.5", ["r"])), domain)
    assert not has_poles(dataclasses.replace(clean, message=formula.parse("(r - 2)^2", ["r"])), domain)
    assert [str(part) for part in guarded(formula.parse("1/(r + 1) + log(m2)", ["r", "m2"]))] == ["m2", "r + 1"]


def test_the_domain_is_wider_than_the_halos() -> None:
    law, graph = toy("with mass")
    domain = domain_of(law, graph, EVERYONE)
    assert domain.message["m2"] == (0.0, 2 * graph.mass.max())
    assert domain.node["s"][1] == pytest.approx(2 * sums(law.message, law.constants, graph, EVERYONE).max())


def test_constants_of_denominators_keep_their_signs() -> None:
    law = law_of("(0.3 + m2)/(7.1 + (0.09*r)^8.2)", "-0.2 + 0.3*s/(1.5 + 0.4*m)")
    names = {name for part in (*guarded(law.message), *guarded(law.node)) for name in map(str, part.free_symbols)}
    below_bars = {name for name in names if name.startswith("c")}
    assert len(below_bars) == 3
    # Beside them, factors of powers.
    large = {name for name, value in law.constants.items() if value > 1e3}
    assert set(bounded(law).bounds) == below_bars | large
    for name in below_bars:
        low, high = law.bound(name)
        assert (low > 0) == (law.constants[name] > 0)
        assert np.isinf(high if low > 0 else low)


def test_a_factor_of_the_message_goes_into_the_node() -> None:
    law = law_of("2.5*m2/(1.5 + r)", "0.1 + 0.4*s")
    assert law.filled()[0].as_coeff_Mul()[0] == 1
    # 2.5 times 0.4 is 1, and no constant any more.
    assert sorted(law.constants.values()) == pytest.approx([0.1, 1.5])
    graph = toyhalos.graph()
    expected = 0.1 + 0.4 * sums(formula.parse("2.5*m2/(1.5 + r)", message_names()), {}, graph, EVERYONE)
    assert np.allclose(law.predict(graph, EVERYONE), expected)


def test_a_power_and_its_factor_become_one_scale() -> None:
    scaled = law_of("m2 + 2e-8*r^8.2 + exp(-r)", "-0.2 + 0.3*s")
    assert scaled.constants["c1"] == pytest.approx(2e-8 ** (1 / 8.2))
    law = law_of("(0.3 + m2)/(7.1 + 2e-8*r^8.2)", "-0.2 + 0.3*s")
    # Factors of powers keep their signs, so that their logarithms can be moved.
    assert all(name in law.bounds for name, value in law.constants.items() if value > 1e3)
    graph = toyhalos.graph(100)
    message = formula.parse("(0.3 + m2)/(7.1 + 2e-8*r^8.2)", message_names())
    expected = -0.2 + 0.3 * sums(message, {}, graph, np.arange(100))
    assert np.allclose(law.predict(graph, np.arange(100)), expected)


def test_complexity_is_that_of_the_paper() -> None:
    law = form("with mass", 20.0)
    assert law.complexity == complexity(law.message) + complexity(law.node) == 13 + 9
    assert form("constant", 20.0).complexity == 1


@pytest.mark.slow
def test_the_right_pair_is_chosen_from_two_fronts() -> None:
    true, graph = toy("with mass", noise=0.01)
    messages = ["0.3*m2", "(0.5 + m2)/(1.1 + (0.1*r)^6.5)"]
    nodes = ["0.3", "s/(2.5 + 0.4*m)"]
    found = laws(messages, nodes, graph, EVERYONE[:300], EVERYONE[300:])
    best = found.candidates[-1]
    errors = [candidate.point.mae for candidate in found.candidates]
    costs = [candidate.point.complexity for candidate in found.candidates]
    assert errors == sorted(errors, reverse=True)
    assert costs == sorted(costs)
    assert found.candidates[0].point.complexity == 1
    assert best.point.mae < 0.02
    assert {"m2", "r"} <= {symbol.name for symbol in best.law.message.free_symbols}
    assert found.at(best.point.complexity) == best
    assert found.at(1) == found.candidates[0]
    assert found.at(0) is None
    assert 0 <= found.chosen < len(found.candidates)
    assert np.abs(best.law.predict(graph, EVERYONE) - true.predict(graph, EVERYONE)).mean() < 0.02


def test_errors_in_and_out_of_the_distribution() -> None:
    graph = dataclasses.replace(toyhalos.graph(4), overdensity=np.array([0.0, 1.0, 3.0, 6.0]))
    model = HaloLaw(sympy.Integer(0), formula.parse("c1", ["c1"]), {"c1": 1.0})
    everyone = np.arange(4)
    assert below(graph, everyone).tolist() == [0, 1]
    assert above(graph, everyone).tolist() == [2, 3]
    inside, outside = error_of(model, graph, below(graph, everyone)), error_of(model, graph, above(graph, everyone))
    assert (inside.mean, outside.mean, outside.halos) == (0.5, 3.5, 2)
    assert outside.standard == pytest.approx(np.std([2, 5], ddof=1) / np.sqrt(2))
    assert np.isnan(error_of(model, graph, everyone[:0]).mean)


@pytest.mark.parametrize("name", NAMES)
def test_laws_survive_a_file(name: str, tmp_path: Path) -> None:
    law, graph = form(name, 10.0), toyhalos.graph(50)
    write_law(tmp_path / "law.json", law)
    again = read_law(tmp_path / "law.json")
    assert (again.constants, again.bounds, again.free) == (law.constants, law.bounds, law.free)
    assert np.array_equal(again.predict(graph, np.arange(50)), law.predict(graph, np.arange(50)))


def test_damaged_laws_are_refused_in_one_line(tmp_path: Path) -> None:
    content = as_content(form("with mass", 10.0))
    for change, message in (
        ({"format": 99}, "another version"),
        ({"message": "__import__('os')"}, "law: formula"),
        ({"node": "c1 + velocity"}, "unknown symbol"),
        ({"constants": None}, "lacks what it should hold"),
    ):
        with pytest.raises(DistilleryError, match=message) as raised:
            from_content({**content, **change}, "law")
        assert "\n" not in str(raised.value)
    with pytest.raises(DistilleryError, match="lacks"):
        from_content({"format": 1}, "law")
    (tmp_path / "law.json").write_text(json.dumps(content)[:-20])
    with pytest.raises(DistilleryError, match="damaged"):
        read_law(tmp_path / "law.json")


def test_laws_are_shown() -> None:
    law = form("with mass", 20.0).having({"c1": -0.156, "c2": 3.8, "c3": 0.0809, "c4": 0.438, "c6": 0.05, "c7": 20.3})
    assert line(law) == "δ = -0.1560 + s/(0.08090*m + 3.800), s = Σ ((0.4380 + m2)/(1.000 + (0.05000*r)**20.30))"
    shown = latex(law)
    assert r"\hat{\delta}_i &= " in shown
    assert r"M_j" in shown
    assert r"\sum_{j}" in shown
    assert line(form("constant", 20.0).having({"c1": 0.5})) == "δ = 0.5000"
    lines = [text for text in listing(law, "a law").splitlines() if not text.startswith("#")]
    values = dict(text.split(" = ", 1) for text in lines)
    assert formula.parse(values["message"], (*message_names(), *law.constants)) == law.message
    assert float(values["c7"]) == 20.3
    assert "# m2 in 1e14 Msun/h" in listing(law, "a law")


def test_constants_at_a_bound_are_named_and_leave_no_noise() -> None:
    known = {"c1": -0.188, "c2": 11.67, "c3": 2.2280656733240186e-20, "c4": 0.27, "c6": 0.05131, "c7": 8.8}
    law = form("with mass", 20.0).having(known)
    assert law.at_bound == {"c3": 0.0}
    shown = line(law)
    assert shown == ("δ = -0.1880 + s/11.67, s = Σ ((0.2700 + m2)/(1.000 + (0.05131*r)**8.800)) (c3 = 0: at a bound)")
    assert "e-20" not in latex(law)
    # All digits stay in the file.
    assert "c3 = 2.2280656733240186e-20" in listing(law, "a law")
    steep = line(law.having({"c3": 0.1, "c7": 40.0}))
    assert steep.endswith("(0.05131*r)**40.00)) (c7 = 40: at a bound)")
    # Nothing that would divide by zero is left out.
    harsh = HaloLaw(formula.parse("c4/r", ("r", "c4")), formula.parse("s/c5", ("s", "c5")), {"c4": 1.0, "c5": 1e-30})
    assert "zoo" not in line(dataclasses.replace(harsh, bounds={"c5": (0.0, 1.0)}))


def test_errors_whose_squares_no_number_holds_end_no_refit() -> None:
    _, graph = toy("with mass")
    huge = dataclasses.replace(graph, overdensity=graph.overdensity * 1e170)
    assert np.isfinite(refit(form("constant", 10.0), huge, EVERYONE, starts=1, polish=0).error)
