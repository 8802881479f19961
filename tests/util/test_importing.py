"""Importing: garbage collection is restored afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from distillery.util.importing import importing


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("on", [True, False])
def test_garbage_collection_is_restored(on: bool) -> None:
    (gc.enable if on else gc.disable)()
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() is on
