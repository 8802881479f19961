"""Types are checked by beartype from a function's first call on: a test process imports far more than it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def when_called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function as ``beartype`` does; the check, which is slow to make, is made when it is first called."""
    checked: Callable[..., Any] | None = None

    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked is None:
            checked = beartype(function)
        return checked(*args, **kwargs)

    return first
