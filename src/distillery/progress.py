"""Progress of long work: a bar when someone watches, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_PERIOD = 10.0


def progress(label: str, total: int, unit: str) -> Callable[[int, str], None]:
    """Return a function that shows how far the work is.

    Args:
        label: What is being done.
        total: Units of work in all.
        unit: Name of a unit.

    Returns:
        A function of the units done and a note; it prints to standard error at most a few times a
        second on a terminal, every ten seconds otherwise, and always at the end.
    """
    watched = sys.stderr.isatty()
    started = time.monotonic()
    last = -_PERIOD

    def show(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < (0.2 if watched else _PERIOD):
            return
        last = now
        rate = done / max(now - started, 1e-9)
        if watched:
            filled = 30 * done // max(total, 1)
            text = f"\r{label} [{'█' * filled}{'·' * (30 - filled)}] {done:,}/{total:,} {unit} {note}\x1b[K"
            sys.stderr.write(text + ("\n" if done >= total else ""))
        else:
            sys.stderr.write(f"{label}: {done:,} of {total:,} {unit}, {rate:,.0f}/s {note}\n")
        sys.stderr.flush()

    return show
