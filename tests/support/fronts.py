"""Distilled components for tests of verdicts."""

from __future__ import annotations

from typing import Any


def component(number: int, *texts: str, chosen: int | None = 0) -> dict[str, Any]:
    front = [{"expression": text, "complexity": 1 + 2 * k, "mae": 0.1, "score": 0.1} for k, text in enumerate(texts)]
    return {"component": number, "status": "ok", "reason": "", "fit": "key", "chosen": chosen, "front": front}
