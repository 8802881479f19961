"""The line of a program's output with the reason of its failure."""

from __future__ import annotations

import pytest

from distillery.symbolic.reasons import reason_in, with_remedy

PYSR = """\
/site-packages/pysr/julia_import.py:34: UserWarning: PYTHON_JULIACALL_THREADS environment variable is set
  warnings.warn(
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "setup.py", line 4, in <module>
    subprocess.run(command, check=True)
subprocess.CalledProcessError: Command '['/opt/julia/bin/julia', '-e', 'import Pkg']' returned non-zero exit status 1.
"""
JULIA = (
    "  Updating registry at `~/.julia/registries/General.toml`\nERROR: could not download https://pkg.julialang.org\n"
)
FRAMES = "".join(f" [{number}] error(s::String)\n   @ Base ./error.jl:35\n" for number in range(40))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (JULIA + "Stacktrace:\n" + FRAMES + TRACEBACK, "ERROR: could not download https://pkg.julialang.org"),
        (PYSR, ""),
        ("Precompiling\n" + PYSR, "Precompiling"),
        (TRACEBACK + PYSR, TRACEBACK.splitlines()[-1]),
        (PYSR + "juliacall.JuliaError: MethodError: no method matching one(::Type{Any})\nClosest candidates are:\n"
         "  one(::Type{Union{}})\n" + PYSR, "juliacall.JuliaError: MethodError: no method matching one(::Type{Any})"),
        ("ERROR: The following 1 direct dependency failed to precompile:\n\nSymbolicRegression\n",
         "ERROR: The following 1 direct dependency failed to precompile: SymbolicRegression"),
        ("[41] signal 11 (1): Segmentation fault\nin expression starting at none:0\n" + PYSR,
         "[41] signal 11 (1): Segmentation fault"),
        ("┌ Warning: removing a stale pidfile\n└ @ FileWatching.Pidfile\nMemoryError\n", "MemoryError"),
        ("", ""),
        ("\n \n", ""),
        ("killed", "killed"),
    ],
)  # fmt: skip
def test_the_error_is_found_among_warnings_and_frames(output: str, reason: str) -> None:
    assert reason_in(output) == reason


def test_a_remedy_follows_errors_that_are_known() -> None:
    assert with_remedy("ERROR: no space left") == "ERROR: no space left"
    assert "JULIA_CPU_TARGET=native" in with_remedy("ERROR: Unable to find compatible target in cached code image.")
