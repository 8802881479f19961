"""Verdicts on many potentials: the true law passes in every gauge and unit, each near miss fails."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from distillery.laws.limits import Verdict
from distillery.laws.settings import VerificationSettings
from distillery.physics import formula
from distillery.physics.systems import PAIR_SYMBOLS, System
from distillery.randomness import stream
from distillery.validation.force import judge, judge_message, judge_pair
from distillery.validation.gauge import Energy, Message
from distillery.validation.probe import DataProbe, pairs_of, probe
from support import potentials
from support.potentials import CASES, Case

SETTINGS = VerificationSettings()
# Fast potentials; the others are marked slow.
QUICK = ("inverse twelfth",)
GAUGES = {"0.6*dx - 0.8*dy": "force", "f*dx/m1 + 0.3*q1*m1": "acceleration", "f*(dx + m1*dy)/(m1 + 3) - m1**2": "gauge"}
PARAMETERS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]


@functools.cache
def found(name: str) -> DataProbe | None:
    return probe(CASES[name].system, CASES[name].pairs, SETTINGS)


def near(case: Case, seed: int) -> str:
    """Return the potential with each of its numbers changed by 1 %."""
    signs = stream(seed, "signs").choice([-1, 1], len(case.numbers))
    return case.potential(tuple(float(1 + 0.01 * sign) for sign in signs))


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_true_law_passes_in_every_gauge_and_with_constants_to_a_hundredth(name: str) -> None:
    case, over = CASES[name], found(name)
    for k, (gauge, form) in enumerate(GAUGES.items()):
        for text in (case.potential(), near(case, k)):
            verdict = judge(Message(case.message(text, gauge)), case.system, over, SETTINGS)
            assert verdict.recovered, (gauge, text, verdict.reason)
            # Only the exact form is reported as exact.
            assert verdict.form == form
    for k, offset in enumerate(("0", "1e3*m1*m2 - 7*q1")):
        for text in (case.potential(), near(case, k)):
            verdict = judge(Energy(case.pair_energy(text, offset)), case.system, over, SETTINGS)
            assert (verdict.recovered, verdict.form) == (True, "energy"), (offset, text, verdict.reason)


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_near_miss_fails_as_a_message_and_as_an_energy(name: str) -> None:
    case, over = CASES[name], found(name)
    for miss in case.misses:
        for reading in (Message(case.message(miss, "0.6*dx - 0.8*dy")), Energy(case.pair_energy(miss))):
            verdict = judge(reading, case.system, over, SETTINGS)
            assert not verdict.recovered, (miss, reading)
            assert verdict.reason
            assert "does not depend" not in verdict.reason


def near_equal(one: Verdict, other: Verdict) -> None:
    assert (one.recovered, one.form) == (other.recovered, other.form)
    assert one.median_residual == pytest.approx(other.median_residual, rel=1e-4, abs=1e-9)
    assert one.p90_residual == pytest.approx(other.p90_residual, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("length", "energy"), [(1e6, 1e-6), pytest.param(1e-6, 1e6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in ("morse", "buckingham")])
def test_verdict_does_not_depend_on_units(name: str, length: float, energy: float) -> None:
    """The verdict and the residuals of a right and of a wrong law are equal in other units."""
    # In units of 1 factors would vanish from formulas.
    one, two = (dataclasses.replace(CASES[name], length=own, energy=e) for own, e in ((1.7, 3.1), (length, energy)))
    over = [probe(case.system, case.pairs, SETTINGS) for case in (one, two)]
    for text in (near(one, 3), one.misses[0]):
        found = [judge(Message(c.message(text)), c.system, o, SETTINGS) for c, o in zip((one, two), over, strict=True)]
        near_equal(*found)


def message(case: Case, text: str, names: tuple[str, ...] = ("dx", "dy", "r", "m1", "m2", "q1", "q2")) -> Verdict:
    over = probe(case.system, case.pairs, SETTINGS)
    return judge_message(formula.parse(text, names), case.system, over, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "place"), [(8, 2.0), (20, 2.0), (30, 2.5)])
def test_a_bump_at_distances_of_the_data_belongs_to_the_law(factor: float, place: float) -> None:
    """Test bumps with a width and a height of this factor."""
    for bump in (f"0.5*exp(-{factor}*(r - {place})**2)", f"{factor}*exp(-20*(r - {place})**2)"):
        case = Case(f"(r - 1)**2 + {bump}", (), ())
        verdict = message(case, "dx*(1 - 1/r)")
        assert not verdict.recovered, bump
        assert "differs at r = " in verdict.reason
        over = probe(case.system, case.pairs, SETTINGS)
        energy = formula.parse("(r - 1)**2", PAIR_SYMBOLS)
        assert not judge_pair(energy, case.system, over, SETTINGS).recovered


@pytest.mark.parametrize("bump", ["0.5*exp(-100*(r - 3)**2)", "0.5*exp(-50*(r - 1.5)**2)", "50*exp(-20*(r - 1.5)**2)"])
@pytest.mark.slow
def test_a_narrow_bump_is_named_with_its_distance(bump: str) -> None:
    case = Case(f"(r - 1)**2 + {bump}", (), ())
    verdict = message(case, "dx*(1 - 1/r)")
    place = 3.0 if "- 3)" in bump else 1.5
    assert not verdict.recovered
    first, last = (float(word) for word in verdict.reason.split("differs at r = ")[1].split(",")[0].split(" … "))
    assert first < place < last


@pytest.mark.slow
def test_a_bump_at_a_hundredth_of_the_pairs_is_found() -> None:
    case = Case("(r - 1)**2 + 0.05*exp(-4000*(r - 2)**2)", (), ())
    distance = case.pairs.distance
    assert ((distance > 1.98) & (distance < 2.02)).mean() < 0.02
    verdict = message(case, "dx*(1 - 1/r)")
    assert not verdict.recovered
    assert verdict.median_residual is not None
    assert verdict.median_residual < 0.02
    assert verdict.reason.startswith("differs at r = ")


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("-m1*m2/r + 1e-5/r**4", "dx*m2/r**3"),
        ("q1*q2*exp(-r)/r + 0.3*m1*m2*log(r)", "dx*(q1*q2*exp(-1.2*r)*(1.2/r + 1/r**2) - 0.3*m1*m2/r)/r"),
    ],
)
@pytest.mark.slow
def test_a_force_without_its_core_or_with_another_range_is_another_law(system: str, text: str) -> None:
    # A thousandth of the pairs are closer than 0.045, in the core.
    verdict = message(Case(system, (), (), closest=0.02), text)
    assert not verdict.recovered


@pytest.mark.slow
def test_a_spring_of_millimetres_has_its_rest_length() -> None:
    case = dataclasses.replace(Case("100*(r - 0.005)**2", (), ()), more=(("charges", (1.0,)), ("mass_spread", 0.0)))
    small = case.system.model_copy(update={"position_scale": 0.005, "softening": 0.0})
    over = probe(small, potentials.drawn(small), SETTINGS)
    names = ("dx", "dy", "r")
    for text, passes in (("-58.8*dx - dy", False), ("-58.8*dx*(1 - 0.00498/r)", True)):
        assert judge_message(formula.parse(text, names), small, over, SETTINGS).recovered == passes
    # With a softening of 0.01 it would attract at all distances.
    soft = case.system.model_copy(update={"position_scale": 0.005})
    over = probe(soft, potentials.drawn(soft), SETTINGS)
    for text, passes in (("-58.8*dx - dy", False), ("-58.8*dx*(1 + 0.005/r)", True)):
        assert judge_message(formula.parse(text, names), soft, over, SETTINGS).recovered == passes


@pytest.mark.slow
def test_large_distances_of_the_data_are_compared() -> None:
    spring = Case("(r - 1000)**2", (), ()).system.model_copy(update={"position_scale": 1000.0})
    edge = spring.model_copy(update={"potential": "(r - 1000)**2 if r > 100 else 0"})
    for system, text, passes in (
        (spring, "2000*dx/r", False),
        (spring, "dx*(1 - 1003/r)", True),
        (edge, "dx*(1 - 1000/r)", False),
        (edge, "dx*(1 - 1000/r) if r > 100 else 0", True),
    ):
        over = probe(system, potentials.drawn(system), SETTINGS)
        verdict = judge_message(formula.parse(text, ("dx", "r")), system, over, SETTINGS)
        assert verdict.recovered == passes, (text, verdict.reason)


@pytest.mark.parametrize(
    ("potential", "energy", "closest"),
    [
        ("-exp(-r**2/2)", "0.600 - exp(-0.508*r**2)", 0.0),
        pytest.param("(1 - exp(-2*(r - 1)))**2", "(1 - exp(-2*(r - 1)))**2", 0.4, marks=pytest.mark.slow),
        pytest.param("(1 - exp(-2*(r - 1)))**2 - 1", "(1 - exp(-2*(r - 1)))**2", 0.4, marks=pytest.mark.slow),
        pytest.param("1/r**12", "1/r**12", 0.8, marks=pytest.mark.slow),
        pytest.param("q1*q2*exp(-r/0.2)/r", "q1*q2*exp(-5.03*r)/r", 0.0, marks=pytest.mark.slow),
        pytest.param(
            "(1 - exp(-4*(r - 2)))/(1 + exp(-4*(r - 2)))", "-2/(1 + exp(4*(r - 2.01)))", 0.0, marks=pytest.mark.slow
        ),
        pytest.param("1/r**6 + 40", "1/r**6", 0.5, marks=pytest.mark.slow),
    ],
)
def test_forces_that_vanish_at_large_distances_pass(potential: str, energy: str, closest: float) -> None:
    """Almost no force acts on most pairs of these data."""
    system = Case(potential, (), ()).system.model_copy(update={"softening": 0.0})
    far = potentials.drawn(system, closest=closest, spread=3.0)
    for pairs in (far, potentials.drawn(system, closest=closest)):
        over = probe(system, pairs, SETTINGS)
        verdict = judge_pair(formula.parse(energy, PAIR_SYMBOLS), system, over, SETTINGS)
        assert verdict.recovered, verdict.reason


def test_laws_that_are_equal_on_the_data_differ_beyond() -> None:
    yukawa = Case("q1*q2*exp(-r/20)/r", (), ()).system
    over = probe(yukawa, potentials.drawn(yukawa, closest=0.1), SETTINGS)
    verdict = judge_message(formula.parse("dx*q1*q2/r**3", ("dx", "r", "q1", "q2")), yukawa, over, SETTINGS)
    assert verdict.recovered, verdict.reason
    assert verdict.extent is not None
    extent = verdict.extent()
    assert extent.data_to < 7
    assert 9 < extent.agrees_to < 13
    assert extent.agrees_from < extent.data_from
    assert extent.words.startswith("recovered within the data (r = 0.1 … ")
    assert f"beyond r = {extent.agrees_to:.2g}" in extent.words


@pytest.mark.parametrize(
    ("system", "text", "where"),
    [
        ("(r - 1)**2 if r < 9 else 0", "dx*(1 - 1/r)", "beyond"),
        ("m1*m2*log(r)", "dx*m2/r**2 + 0.002*dx", "beyond"),
        ("-m1*m2/r if r > 0.02 else -50*m1*m2", "dx*m2/r**3", "below"),
    ],
)
def test_an_edge_outside_of_the_data_is_reported_separately(system: str, text: str, where: str) -> None:
    entry = Case(system, (), ()).system
    over = probe(entry, potentials.drawn(entry, closest=0.1), SETTINGS)
    verdict = judge_message(formula.parse(text, ("dx", "r", "m2")), entry, over, SETTINGS)
    assert verdict.recovered, verdict.reason
    assert verdict.extent is not None
    assert "differs" in verdict.extent().words
    assert f"{where} r = " in verdict.extent().words


def test_a_receiver_without_force_does_not_affect_the_verdict() -> None:
    case = CASES["charges of three kinds"]
    assert message(case, "dx*q1*q2/r**3").recovered
    assert message(case, "dx*q2/r**3 + q1").recovered is False


def test_data_without_forces_recover_nothing() -> None:
    case = Case("(r - 50)**2 if r > 50 else 0", (), ())
    verdict = message(case, "dx*(1 - 50/r)")
    assert not verdict.recovered
    assert "no force acts between bodies where the data are" in verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize(("potential", "power"), [("1/r**12", 14), ("1/r**6", 8)])
def test_distant_pairs_do_not_hide_the_law(potential: str, power: int) -> None:
    """Almost no force acts on most pairs of the data; the other pairs decide."""
    system = System(potential=potential, time_step=0.005)
    near = potentials.states(system, snapshots=300, closest=0.1)
    far = potentials.states(system, snapshots=6000, spread=1e5)
    graphs = dataclasses.replace(
        near,
        position=np.concatenate([near.position, far.position]),
        velocity=np.concatenate([near.velocity, 1e5 * far.velocity]),
        acceleration=np.concatenate([near.acceleration, far.acceleration]),
        mass=np.concatenate([near.mass, far.mass]),
        charge=np.concatenate([near.charge, far.charge]),
    )
    over = probe(system, pairs_of(graphs), SETTINGS)
    for exponent in (power - 2, power - 1, power, power + 2):
        text = f"dx/r**{exponent}"
        verdict = judge_message(formula.parse(text, ("dx", "dy", "r")), system, over, SETTINGS)
        assert verdict.recovered is (exponent == power), (text, verdict.reason)
