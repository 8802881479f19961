"""Experiments with biased data: simulations that did not reach their end were drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.report.cells import Experiment, Found
from distillery.report.document import Block, Paragraph, plain
from distillery.report.study import Study
from distillery.util.text import counted

# Above this share of redrawn simulations, the bias may affect any number of an experiment.
NOTABLE = 0.01
# Name of each split, and the setting with its number of simulations.
_SPLITS = {
    "train": ("training", "simulations"),
    "test": ("held-out", "test_simulations"),
}


def selected_note(study: Study) -> list[Block]:
    """Return which experiments had many of their simulations drawn again, and the effect on their numbers.

    Args:
        study: The study.

    Returns:
        One paragraph; nothing if no experiment had more than ``NOTABLE`` of its simulations drawn again.
    """
    sizes = {store.results: _sizes(store.config) for store in study.stores}
    texts: dict[tuple[Path, Experiment], list[str]] = {}
    for found in study.cells:
        where = found.source, found.cell.experiment
        if where not in texts:
            texts[where] = _notable(found, sizes.get(found.source, {}).get(found.cell.experiment, {}))
    several = len(study.stores) > 1
    names = [
        f"{plain(str(experiment))}{f' of {plain(str(source))}' if several else ''}: {', '.join(own)}"
        for (source, experiment), own in texts.items()
        if own
    ]
    if not names:
        return []
    return [
        Paragraph(
            "**Selected data.** Simulations whose end could not be reached were drawn again, so often that what is "
            f"left was selected by its fate: {'; '.join(names)}. Networks, laws and errors of these experiments, "
            "those on held-out simulations too, know nothing of the motion that was given up and are biased."
        )
    ]


def _notable(found: Found, settings: Mapping[str, Any]) -> list[str]:
    """Return the number of redrawn simulations of each split of a cell's experiment that has many."""
    parts = []
    for split, (name, setting) in _SPLITS.items():
        redraws, simulations = found.number(f"redraws_{split}"), settings.get(setting, 0)
        # NaN, if the number is not known, is not greater.
        if redraws > NOTABLE * simulations > 0:
            share = 100 * redraws / simulations
            parts.append(f"{redraws:,.0f} for {counted(simulations, f'{name} simulation')} ({share:.2g} %)")
    return parts


def _sizes(config: Mapping[str, Any]) -> dict[Experiment, Mapping[str, Any]]:
    """Return the settings of each experiment with bodies; halos are never drawn again."""
    return {
        Experiment(entry["system"], entry["dim"], entry["bodies"], entry["seed"]): entry
        for entry in config.get("experiments", ())
    }
