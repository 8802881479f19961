"""Fixtures of the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from distillery.cluster.slurm import commands
from distillery.errors import DistilleryError
from distillery.workflow.slurm import queries


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | DistilleryError]:
    """Answers of Slurm's commands, by the first word; other commands answer nothing."""
    known: dict[str, str | DistilleryError] = {}

    def call(words: Sequence[str], patience: float = 1.0, environment: Any = None) -> str:
        answer = known.get(words[0], "")
        if isinstance(answer, DistilleryError):
            raise answer
        return answer

    monkeypatch.setattr(commands, "call", call)
    monkeypatch.setattr(commands, "available", lambda: True)
    monkeypatch.setattr(queries.shutil, "which", lambda name: f"/usr/bin/{name}")
    return known
