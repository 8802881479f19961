"""Importing large libraries without looking for garbage meanwhile."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage in a block that imports, nor later among what it brought, which lives as long as the process.

    PyTorch and SymPy make half a million objects; going through them again and again as they come takes a quarter of
    the 6 s in which a job starts.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()
