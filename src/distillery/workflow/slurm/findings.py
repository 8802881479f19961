"""Findings of the checks of a cluster, each one line with the setting to change."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Attributes:
        level: ``ok``, ``warning`` (a sweep works with a restriction) or ``error`` (a sweep would fail).
        subject: Subject of the check.
        text: The observation and the setting to change.
        setting: Path of a key in the profile and its corrected value, if there is one.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    setting: tuple[tuple[str, ...], Any] | None = None

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject}: {self.text}"
