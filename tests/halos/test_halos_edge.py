"""Edges of messages: the forms beside what a search found, and that a law with a steep edge is found through them."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.halos.edge import edges
from distillery.halos.features import message_names, node_names
from distillery.halos.forms import form
from distillery.halos.found import composed, laws
from distillery.halos.generalisation import error_of
from distillery.halos.law import HaloLaw
from distillery.physics import formula
from support import toyhalos

SCALE = 20.0


def law_of(message: str, node: str = "0.1 + 1.1*s") -> HaloLaw:
    return composed(formula.parse(message, message_names()), formula.parse(node, node_names()))


def says(law: HaloLaw, r: float, m2: float = 1.3) -> float:
    message, node = law.filled()
    values = {"r": np.array([r]), "m2": np.array([m2])}
    arriving = np.broadcast_to(formula.evaluate(message, values), 1)
    return float(np.broadcast_to(formula.evaluate(node, {"s": arriving, "m": np.ones(1), "v": np.ones(1)}), 1)[0])


@pytest.mark.parametrize(
    ("message", "structures"),
    [
        ("1.9*(m2 + 0.02*r)/(0.044*r)^(0.24*r)", ["(m2 + c*r)/(c*r)^c", "(m2 + c*r)/(1 + (c*r)^c)"]),
        ("(m2 + 0.3)/r^3", ["(m2 + c)/(1 + (c*r)^c)"]),
        ("m2*r^(-0.2*r)", ["m2/r^c", "m2/(1 + (c*r)^c)"]),
        ("m2/r/(r + 3.1)", ["m2/(1 + (c*r)^c)"]),
        ("m2*exp(-0.1*r)", ["m2/(1 + (c*r)^c)"]),
        ("0.8^(0.98*r)*(r - 1.8)*(m2 + 0.02*r)", ["(m2 + c*r)/(1 + (c*r)^c)"]),
        ("(r - 34.2)*(r - 47.1)*(dv + v2)", ["(dv + v2)/(1 + (c*r)^c)"]),
        # What has no factor of distance alone has no edge.
        ("m2 - 0.1*r", []),
        ("m2 + 0.3*dv", []),
    ],
)
def test_forms_beside_a_message(message: str, structures: list[str]) -> None:
    found = edges(law_of(message), SCALE)
    for law, structure in zip(found, structures, strict=True):
        # Of the constants only the places matter: with 1 for all of them the two are the same function.
        ones = {formula.symbol(name): 1 for name in law.constants}
        wanted = formula.parse(structure.replace("c", "1"), message_names())
        assert law.message.xreplace(ones).equals(wanted), (law.message, structure)


@pytest.mark.parametrize("message", ["1.9*(m2 + 0.02*r)/(0.044*r)^(0.24*r)", "(m2 + 0.3)/r^3", "m2*0.8^r*(r - 26.0)"])
@pytest.mark.parametrize("node", ["0.1 + 1.1*s", "0.2 - 3.1/(2.0 + s)"])
def test_forms_beside_a_law_are_as_large_as_it_at_the_scale(message: str, node: str) -> None:
    law = law_of(message, node)
    for beside in edges(law, SCALE):
        assert says(beside, SCALE) == pytest.approx(says(law, SCALE), rel=1e-9)
        named = {symbol.name for symbol in beside.message.free_symbols | beside.node.free_symbols}
        assert named - set(message_names()) - set(node_names()) == set(beside.constants)


@pytest.mark.slow
def test_a_steep_edge_is_found_from_what_a_search_makes_of_it() -> None:
    true = form("with mass", toyhalos.SMOOTHING).having(
        {"c1": -0.15, "c2": 3.0, "c3": 0.0, "c4": 0.4, "c6": 0.09, "c7": 8.0}
    )
    graph = toyhalos.graph(400, law=true, noise=0.01)
    train, validation = np.arange(0, 400, 2), np.arange(1, 400, 2)
    found = laws(["0.3*(m2 + 0.5)/(0.1*r)^(0.5*r)"], ["-0.1 + 0.9*s"], graph, train, validation)
    best = found.at(18)
    assert best is not None
    # The noise has a mean absolute value of 0.008; without the edge an error of more than twice that is left.
    assert error_of(best.law, graph, validation).mean < 0.012
    message, _ = best.law.filled()
    values = formula.evaluate(message, {"r": np.array([1.0, 5.0, 30.0]), "m2": np.ones(3)})
    assert values[1] == pytest.approx(values[0], rel=0.05)
    assert values[2] < 0.01 * values[0]
