"""Base of all sections of the configuration."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

_T = TypeVar("_T")
# NumPy, PyTorch, the engines and the stores all keep seeds of this size.
LARGEST_SEED = 2**63 - 1
# Folders and files are named after them, with some forty characters more; file systems allow 255 bytes.
LONGEST_NAME = 100


class Settings(BaseModel):
    """A section of the configuration: unknown keys, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def distinct(entries: tuple[_T, ...]) -> tuple[_T, ...]:
    """Return the entries; raises ValueError if one of them stands twice."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise ValueError(f"{entry!r} stands twice; remove one")
    return entries
