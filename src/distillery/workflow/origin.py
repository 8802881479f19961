"""Provenance of a cell: commits, versions and the device of the training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from distillery.workflow.cell import Stage
from distillery.workflow.outcome import Outcome


def origin(outcomes: Mapping[Stage, Outcome]) -> dict[str, Any]:
    """Return the columns with the provenance of a cell.

    Args:
        outcomes: Its outcomes, in the order of the stages.

    Returns:
        A text by column; if stages differ, it lists the value of each.
    """
    records = {stage: outcome.provenance for stage, outcome in outcomes.items()}
    versions = {stage: record.get("versions") or {} for stage, record in records.items()}
    libraries = {name: _of_library(versions, name) for found in versions.values() for name in found}
    values: dict[str, Any] = {
        "commit": _agreed({stage: str(record.get("commit", "unknown")) for stage, record in records.items()}),
        "version": _agreed({stage: str(found.get("distillery", "unknown")) for stage, found in versions.items()}),
        "versions": json.dumps(libraries, sort_keys=True) if libraries else "",
    }
    if "train" in records:
        values["device"] = str(records["train"].get("device", ""))
    return values


def _of_library(versions: Mapping[Stage, Mapping[str, Any]], name: str) -> str | dict[str, str]:
    """Return the version of a library, or that of each stage if they differ, as between a GPU and a CPU node."""
    known = {stage: str(found[name]) for stage, found in versions.items() if name in found}
    return next(iter(known.values())) if len(set(known.values())) == 1 else {str(s): v for s, v in known.items()}


def _agreed(values: Mapping[Stage, str]) -> str:
    if len(set(values.values())) <= 1:
        return next(iter(values.values()), "")
    return ", ".join(f"{stage} {value}" for stage, value in values.items())
