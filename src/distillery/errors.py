"""The one error meant for people: a single line that says where, what and what to do."""

from __future__ import annotations

import errno
import os
import re

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# How libraries that are not written in Python report the same; NumPy reports a file cut short.
_SAYS_NO_ROOM = re.compile(
    rf"os error ({errno.ENOSPC}|{errno.EDQUOT})\b|no space left on device|disk quota exceeded|"
    r"\d+ requested and \d+ written",
    re.IGNORECASE,
)


class DistilleryError(Exception):
    """Report bad input or a damaged file in one line, without a traceback.

    The message names the key or file, says what is wrong and what to do about it.
    """


class NotFiniteError(DistilleryError):
    """Report predictions of a law or a network that are not finite: the training has diverged."""


def explain(error: BaseException) -> str:
    """Return an error in one line: our own as they are, others with the name of their type."""
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, DistilleryError) else f"{type(error).__name__}: {lines[0]}"


def no_room(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, says that the disk is full."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _NO_ROOM:
            return True
        if not isinstance(found, DistilleryError) and _SAYS_NO_ROOM.search(str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


def explain_system(error: BaseException) -> str:
    """Return in one line what the operating system refused, and what to do about it."""
    filename = getattr(error, "filename", None)
    place = f"{os.fsdecode(filename)}: " if isinstance(filename, (str, bytes, os.PathLike)) else ""
    if no_room(error):
        return f"{place}cannot be written (no space left on device); what was there is untouched; make room, run again"
    problem = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return f"{place}{problem[:1].lower()}{problem[1:]}; mend that and run again"
