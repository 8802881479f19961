"""The configuration of a Snakemake run, read from its files and options.

Snakemake reads them too, but accepts duplicate keys, reads numbers in files as YAML 1.1 and those of options otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.util.yaml_file import read_text, read_yaml


def configured(snakemake: Any) -> tuple[dict[str, Any], Callable[[str], str]]:
    """Return the configuration of a run, and a function that names the file or option which set a key.

    Args:
        snakemake: Snakemake's object ``workflow``.

    Raises:
        DistilleryError: A file or an option cannot be read.
    """
    layers = [(str(path), read_yaml(Path(path))) for path in snakemake.configfiles]
    # The key config of a profile becomes this option too.
    for entry in snakemake.config_settings.config_args or ():
        key, _, text = str(entry).partition("=")
        layers.append(("--config", {key: read_text(text, f"--config {key}")}))
    content: dict[str, Any] = {}
    for _, layer in layers:
        content = _merged(content, layer)

    def source(key: str) -> str:
        depths = [_depth(layer, key.split(".")) for _, layer in layers]
        deepest = max(depths)
        if deepest == 0:
            return " + ".join(dict.fromkeys(name for name, _ in layers))
        return next(layers[i][0] for i in reversed(range(len(layers))) if depths[i] == deepest)

    return content, source


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        result[key] = _merged(lower, value) if isinstance(value, Mapping) and isinstance(lower, Mapping) else value
    return result


def _depth(layer: Any, parts: Sequence[str]) -> int:
    """Return the number of leading parts of a key that the content of a file or option has."""
    if not parts:
        return 0
    if isinstance(layer, Mapping) and parts[0] in layer:
        return 1 + _depth(layer[parts[0]], parts[1:])
    if isinstance(layer, list) and parts[0].isdigit() and int(parts[0]) < len(layer):
        return 1 + _depth(layer[int(parts[0])], parts[1:])
    return 0
