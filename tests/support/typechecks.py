"""Run-time checks of types and shapes in tests.

``jaxtyped`` keeps book of shapes at every call, and it makes its checks, which is slow, for all that is imported. Here
checks are made at a function's first call, and functions that have to do with no array are left to beartype alone.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

_jaxtyped: Callable[..., Any] = jaxtyping.jaxtyped


def install() -> None:
    """Check every module of the package that is imported afterwards."""
    # The import hook takes its decorator from here for every function and class.
    jaxtyping.jaxtyped = lambda *, typechecker: checked  # type: ignore[assignment]
    jaxtyping.install_import_hook("distillery", "beartype.beartype")


def checked(thing: Any) -> Any:
    """Return a function, method or class with checked calls."""
    if inspect.isclass(thing):
        if dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
            thing.__init__ = checked(thing.__init__)  # type: ignore[misc]
        return thing
    if isinstance(thing, classmethod | staticmethod):
        return type(thing)(checked(thing.__func__))
    if isinstance(thing, property):
        return property(*(part and checked(part) for part in (thing.fget, thing.fset, thing.fdel)))
    if not inspect.isfunction(thing):
        return _jaxtyped(thing, typechecker=beartype)
    made: Callable[..., Any] | None = None

    @functools.wraps(thing)
    def at_a_call(*args: Any, **kwargs: Any) -> Any:
        nonlocal made
        if made is None:
            made = _jaxtyped(thing, typechecker=beartype) if _has_arrays(thing) else beartype(thing)
        return made(*args, **kwargs)

    return at_a_call


def _has_arrays(function: Callable[..., Any]) -> bool:
    """Return whether the types of a function contain shapes; true if some types are unknown."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return True
    return any(_is_of_arrays(hint) for hint in hints.values())


def _is_of_arrays(hint: Any) -> bool:
    if isinstance(hint, list | tuple):
        return any(_is_of_arrays(part) for part in hint)
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_is_of_arrays(part) for part in typing.get_args(hint))
