"""The functions of a model that are distilled: how many components each has, and what its expressions are made of.

``message`` is what goes along an edge: the components that are read of a message, or the pair energy
of a Hamiltonian network. ``node`` is what a node makes of it: the accelerations of a node model, or the energy of a
single body. The control has no network, and one function: the acceleration of a body as the raw system gives it.
"""

from __future__ import annotations

from typing import Literal

from distillery.networks.models import Model

Function = Literal["message", "node"]
FUNCTIONS: tuple[Function, ...] = ("message", "node")
AXES = ("x", "y", "z")


def components(model: Model, dim: int) -> dict[Function, int]:
    """Return how many components each function of a model has; a function that it lacks is left out.

    Args:
        model: Table entry of the model.
        dim: Dimensions of space.
    """
    match model.kind:
        case "hamiltonian":
            return {"message": 1, "node": 1}
        case "control":
            return {"message": dim}
    return {"message": min(dim, model.message_size(dim)), "node": dim}


def feature_names(dim: int) -> tuple[str, ...]:
    """Return the names of what two bodies differ in: displacement, distance, masses, charges; 1 receives."""
    return (*("dx", "dy", "dz")[:dim], "r", "m1", "m2", "q1", "q2")


def message_names(model: Model, dim: int, bodies: int, *, place: bool) -> tuple[str, ...]:
    """Return the names that expressions of the function ``message`` may use.

    Args:
        model: Table entry of the model.
        dim: Dimensions of space.
        bodies: Number of bodies.
        place: Whether the positions of bodies may enter.
    """
    return control_names(dim, bodies, place=place) if model.kind == "control" else feature_names(dim)


def node_names(model: Model, dim: int, *, place: bool) -> tuple[str, ...]:
    """Return the names that expressions of the function ``node`` may use.

    A node model has the sums of the components that are read (s1 …), mass, charge and velocity; an energy has momentum,
    mass and charge.

    Args:
        model: Table entry of the model.
        dim: Dimensions of space.
        place: Whether the positions of bodies may enter.
    """
    position = AXES[:dim] if place else ()
    if model.kind == "hamiltonian":
        return (*(f"p{axis}" for axis in AXES[:dim]), "m", "q", *position)
    arriving = tuple(f"s{k + 1}" for k in range(components(model, dim)["message"]))
    return (*arriving, "m", "q", *(f"v{axis}" for axis in AXES[:dim]), *position)


def control_names(dim: int, bodies: int, *, place: bool) -> tuple[str, ...]:
    """Return the names of the raw system as body 1 sees it: every other body, then itself.

    Args:
        dim: Dimensions of space.
        bodies: Number of bodies.
        place: Whether the positions of bodies may enter.
    """
    others = [
        f"{name}{k}" for k in range(2, bodies + 1) for name in (*(f"d{axis}" for axis in AXES[:dim]), "r", "m", "q")
    ]
    position = AXES[:dim] if place else ()
    own = ("m", "q", *(f"v{axis}" for axis in AXES[:dim]), *position)
    return (*others, *(f"{name}1" for name in own))
