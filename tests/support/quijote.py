"""Files of a small Quijote simulation in their layout."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import DistilleryError
from distillery.halos import mesh
from distillery.halos.quijote import Quijote, read_quijote

BOX = 100.0
CELLS = 40


class Files:
    """A folder with the files of a small Quijote simulation."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(11)
        self.folder = folder
        self.groups = folder / "groups_004"
        self.groups.mkdir()
        self.cube = folder / "df_m_CIC_z=0.npy"
        self.counts = (5, 0, 7)
        count = sum(self.counts)
        self.length = random.integers(20, 900, count).astype("<i4")
        self.mass = random.uniform(1e3, 1e5, count).astype("<f4")
        self.position = random.uniform(0, BOX * 1e3, (count, 3)).astype("<f4")
        self.velocity = random.normal(0, 300, (count, 3)).astype("<f4")
        self.matter = random.uniform(0, BOX, (4000, 3)).astype(np.float32)
        self.contrast = mesh.contrast(self.matter, BOX, CELLS)

    def write_groups(
        self, number: int = 4, by_type: bool = True, order: str = "<", total: int | None = None, parts: int = 3
    ) -> None:
        start = 0
        for k, count in enumerate(self.counts):
            own = slice(start, start + count)
            start += count
            content = struct.pack(
                f"{order}iiiQI", count, sum(self.counts) if total is None else total, 0, 10**10, parts
            )
            columns: list[np.ndarray] = [
                self.length[own],
                np.zeros(count, "<i4"),
                self.mass[own],
                self.position[own],
                self.velocity[own],
            ]
            if by_type:
                columns += [np.zeros((count, 6), "<i4"), np.zeros((count, 6), "<f4")]
            for column in columns:
                content += column.astype(column.dtype.newbyteorder(order)).tobytes()
            (self.groups / f"group_tab_{number:03d}.{k}").write_bytes(content)

    def quijote(self, **changes: Any) -> Quijote:
        given = {"groups": str(self.groups), "matter": str(self.cube), "box": BOX}
        return Quijote(**(given | changes))

    def file(self, k: int) -> Path:
        return self.groups / f"group_tab_004.{k}"


def refused(quijote: Quijote) -> str:
    with pytest.raises(DistilleryError) as caught:
        read_quijote(quijote)
    assert "\n" not in str(caught.value)
    return str(caught.value)
