"""Find the line in the output of a program that gives the reason of its failure."""

from __future__ import annotations

import re

# Julia and Pkg: "ERROR: LoadError: …", in workers "[ Worker 2: ERROR: …".
_JULIA = re.compile(r"\bERROR: ")
# The last line of a Python traceback: "juliacall.JuliaError: …".
_PYTHON = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)(?:: .*)?$")
# Julia's report of a crash: "[123] signal 11 (1): Segmentation fault".
_SIGNAL = re.compile(r"\bsignal \(?\d+")
_WARNING = re.compile(r"\b\w*Warning: |^warnings\.warn\(|^┌ Warning|^[│└]")
_BLANK = re.compile(r"^\s*$")
# Remedies for known errors, by a part of their text.
WRONG_TARGET = "Unable to find compatible target"
_REMEDIES = {
    WRONG_TARGET: "Julia has no code for the processor of this machine: prepare the depot on a machine of this kind, "
    "with JULIA_CPU_TARGET=native where Julia was built for one kind of processor",
}


def reason_in(output: str) -> str:
    """Return the line of a program's output with the reason of its failure; empty if there is none.

    Errors of Julia take precedence, because Python reports them again; then Python's exceptions, then crashes, then the
    last line that is neither a warning nor indented.

    Args:
        output: Standard output and standard error together.
    """
    lines = [line.rstrip() for line in output.splitlines() if not _BLANK.match(line)]
    for number in reversed(range(len(lines))):
        if _JULIA.search(lines[number]):
            error = lines[number][lines[number].index("ERROR: ") :]
            # A heading needs the line below it.
            below = lines[number + 1].strip() if error.endswith(":") and number + 1 < len(lines) else ""
            return f"{error} {below}".strip()
    for pattern in (_PYTHON, _SIGNAL):
        for line in reversed(lines):
            if pattern.search(line):
                return line.strip()
    plain = [line for line in lines if not line[0].isspace() and not _WARNING.search(line)]
    return plain[-1].strip() if plain else ""


def with_remedy(reason: str) -> str:
    """Return a reason with its remedy, if one is known."""
    remedies = [remedy for part, remedy in _REMEDIES.items() if part in reason]
    return "; ".join([reason, *remedies])
