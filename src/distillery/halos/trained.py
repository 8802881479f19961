"""Files of a trained halo network: weights and training history."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from distillery import files
from distillery.errors import DistilleryError
from distillery.halos.features import Scales
from distillery.halos.training import COLUMNS, HaloTraining, Trained, untrained


def write_network(path: Path, trained: Trained) -> None:
    """Write the weights of a network.

    Args:
        path: The safetensors file.
        trained: The network.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(tensors, temporary)


def write_history(path: Path, trained: Trained) -> None:
    """Write the training history as a CSV table with the columns ``training.COLUMNS``.

    Args:
        path: The CSV file.
        trained: The network.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([int(step), *(f"{value:.7g}" for value in values)] for step, *values in trained.history)
    files.write_text(path, text.getvalue())


def read_network(path: Path, settings: HaloTraining, result: Mapping[str, Any]) -> Trained:
    """Read a trained network.

    Args:
        path: The safetensors file of its weights.
        settings: The network and its training settings.
        result: Result of its training with the key ``scales``, units of the inputs.

    Raises:
        DistilleryError: Weights or units are missing or damaged.
    """
    try:
        scales = Scales(**result["scales"])
        network = untrained(settings, scales)
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistilleryError(f"{path}: cannot be loaded ({reason}); delete the folder {path.parent}") from None
    return Trained(network.eval(), scales, settings, settings.steps, "", (), 0.0)
