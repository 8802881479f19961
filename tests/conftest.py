"""Array shapes and types of the whole package are checked while tests run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

install_import_hook("distillery", "beartype.beartype")

from distillery.config import parse_config  # noqa: E402 (after the hook)
from distillery.sweep import Sweep  # noqa: E402


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """A sweep in a folder of its own: one tiny spring experiment with one model, unless told otherwise."""

    def make(**changes: Any) -> Sweep:
        content = {
            "experiments": [{"system": "spring", "simulations": 64, "test_simulations": 16, "snapshots": 10}],
            "models": ["bottleneck"],
            **changes,
        }
        return Sweep(parse_config(content), tmp_path / "results")

    return make
