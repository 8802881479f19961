"""Paths as users write them: ``~`` and variables of the environment stand for what they stand for in a shell."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from distillery.errors import DistilleryError

_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


def expanded(text: str) -> str:
    """Return a path with ``~``, ``~user``, ``$NAME`` and ``${NAME}`` replaced.

    Raises:
        ValueError: A variable is not set, or there is no such home.
    """
    result = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 (of a relative path Path.expanduser drops ./)
    unknown = [name for name in _VARIABLE.findall(text) if os.path.expandvars(name) == name]
    if unknown:
        raise ValueError(f"{unknown[0]} is not set in this environment; set it, or write the path itself")
    if result.startswith("~"):
        raise ValueError(f"there is no home for {Path(result).parts[0]}; write the path itself, or ./{result}")
    return result


# A path in a configuration.
PathText = Annotated[str, AfterValidator(expanded)]


def results_folder(path: Path) -> Path:
    """Return a results folder as it was given.

    Raises:
        DistilleryError: It is a link that leads nowhere.
    """
    if path.is_symlink() and not path.exists():
        raise DistilleryError(
            f"{path}: is a link to {path.readlink()}, which is not there; make that folder, or choose another one"
        )
    return path
