"""The one error meant for people: a single line that says where, what and what to do."""


class DistilleryError(Exception):
    """Report bad input or a damaged file in one line, without a traceback.

    The message names the key or file, says what is wrong and what to do about it.
    """


class NotFiniteError(DistilleryError):
    """What a law or a network says is not finite on its data: a training that has diverged."""


def explain(error: BaseException) -> str:
    """Return an error in one line: our own as they are, others with the name of their type."""
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, DistilleryError) else f"{type(error).__name__}: {lines[0]}"
