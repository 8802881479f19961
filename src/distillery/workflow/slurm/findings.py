"""What a check of a cluster found: one line that says what to set."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: ``ok``, ``warning`` (it will work, but …) or ``error`` (a sweep would fail).
        subject: What was looked at.
        text: What is the case, and what to set.
        setting: A key of the profile and the value that mends it, if the check knows.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    setting: tuple[tuple[str, ...], Any] | None = None

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject}: {self.text}"
