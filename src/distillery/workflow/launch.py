"""Check a Snakemake command line before Snakemake reads it, and set environment variables that it needs.

The profiles under ``profiles/`` call this: Snakemake evaluates their key ``__definitions__`` before it parses the
options that they set. Its own messages about a missing plugin or an unreadable file are long and name no line.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distillery.errors import DistilleryError
from distillery.util.process import user_name
from distillery.util.yaml_file import read_yaml

_CONFIGURATIONS = ("--configfile", "--configfiles")


def check(executor: str = "local", words: Sequence[str] | None = None) -> None:
    """Exit with one line instead of Snakemake's many.

    Args:
        executor: The executor that the profile sets.
        words: Snakemake's command line; this process's by default.

    Raises:
        SystemExit: The executor's plugin is not installed, or a configuration cannot be read; the reason was printed.
    """
    words = sys.argv[1:] if words is None else words
    # Snakemake fails for users without a name. This is where Python looks for it first.
    os.environ.setdefault("LOGNAME", user_name())
    _require_cache()
    try:
        if executor != "local" and importlib.util.find_spec(f"snakemake_executor_plugin_{executor}") is None:
            raise DistilleryError(f"executor: {executor} is not installed in this environment; run make cluster first")
        for path in configurations(words):
            read_yaml(path)
    except DistilleryError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def configurations(words: Sequence[str]) -> list[Path]:
    """Return the configuration files that a command line of Snakemake names."""
    found: list[Path] = []
    reading = False
    for word in words:
        if word.startswith("-"):
            option, joined, value = word.partition("=")
            reading = option in _CONFIGURATIONS and not joined
            found += [Path(value)] if option in _CONFIGURATIONS and joined else []
        elif reading:
            found.append(Path(word))
    return found


def _require_cache() -> None:
    """Set a temporary cache folder for this process and its children if the user's is not writable."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "snakemake"
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except (OSError, RuntimeError):  # no room, no permission, or no home at all
        folder = tempfile.mkdtemp(prefix="distillery-cache-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["XDG_CACHE_HOME"] = folder
