"""The one error meant for people: a single line that says where, what and what to do."""


class DistilleryError(Exception):
    """Report bad input or a damaged file in one line, without a traceback.

    The message names the key or file, says what is wrong and what to do about it.
    """
