"""What the replace stage tells of a cell, of whatever kind, before it has found anything."""

from __future__ import annotations

from typing import Any


def nothing() -> dict[str, Any]:
    """Return the findings of a cell without a law; a stage puts what it has found in their place."""
    return {
        "replacement": "none",
        "reason": "",
        "law": None,
        "text": "",
        "refitted_text": "",
        "clean_text": "",
        "constants": [],
        "refitted_constants": [],
        "errors": {},
        "form": "",
        "source": "",
        "cut": "",
        "evaluations": 0,
    }
