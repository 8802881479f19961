"""Checkpoints of a cell in training: tensors in safetensors, and a JSON header written last.

The two newest are kept: cells that train side by side and were killed between two of their writes still
share one step from which all go on.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillery import files
from distillery.errors import DistilleryError

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """State of a cell after some steps.

    Attributes:
        key: Key of the training (see ``sweep``).
        step: Steps done.
        reason: Why the cell has diverged, empty while it has not.
        checksum: SHA-256 of the tensors' file.
    """

    key: str
    step: int
    reason: str
    checksum: str


def write(folder: Path, key: str, step: int, reason: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint, whole or not at all, and remove all but the newest of this training.

    Those of a training with other settings stay until they are overwritten, or until this training is done.
    """
    header, content = _paths(folder, step)
    with files.replacing(content) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    entry = Checkpoint(key, step, reason, files.checksum(content))
    files.write_json(header, dataclasses.asdict(entry))
    for old in sorted(available(folder, key))[:-KEPT]:
        for path in _paths(folder, old):
            path.unlink(missing_ok=True)


def available(folder: Path, key: str) -> dict[int, Checkpoint]:
    """Return the checkpoints of a training by step; those made with other settings do not count.

    Raises:
        DistilleryError: A header is damaged.
    """
    found = {}
    for step in _steps(folder):
        header, _ = _paths(folder, step)
        try:
            entry = Checkpoint(**files.read_json(header, _remedy(folder)))
        except TypeError:
            raise DistilleryError(f"{header}: written by another version of distillery; {_remedy(folder)}") from None
        if entry.key == key:
            found[entry.step] = entry
    return found


def read(folder: Path, entry: Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint.

    Raises:
        DistilleryError: They are missing or damaged.
    """
    _, content = _paths(folder, entry.step)
    if not content.exists() or files.checksum(content) != entry.checksum:
        raise DistilleryError(f"{content}: missing or damaged (checksum); {_remedy(folder)}")
    try:
        return load_file(content)
    except SafetensorError as error:
        raise DistilleryError(f"{content}: damaged ({error}); {_remedy(folder)}") from None


def discard(folder: Path) -> None:
    """Remove all checkpoints of a cell."""
    shutil.rmtree(folder, ignore_errors=True)


def _paths(folder: Path, step: int) -> tuple[Path, Path]:
    return folder / f"step-{step:09}.json", folder / f"step-{step:09}.safetensors"


def _steps(folder: Path) -> list[int]:
    return sorted(int(header.stem.removeprefix("step-")) for header in folder.glob("step-" + "[0-9]" * 9 + ".json"))


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder} to train this cell anew"
