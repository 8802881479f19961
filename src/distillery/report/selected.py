"""Experiments whose data were selected by their fate: what did not reach its end was drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.report.cells import Experiment, Found
from distillery.report.document import Block, Paragraph, plain
from distillery.report.study import Study
from distillery.util.text import counted

# Beyond this share of its simulations, what an experiment's data lack may show in any of its numbers.
NOTABLE = 0.01
# What each split is called, and the setting that says how many simulations it has.
_SPLITS = {
    "train": ("training", "simulations"),
    "test": ("held-out", "test_simulations"),
}


def selected_note(study: Study) -> list[Block]:
    """Return which experiments had many of their simulations drawn again, and what that does to their numbers.

    Args:
        study: The study.

    Returns:
        One paragraph; nothing where no experiment had more than ``NOTABLE`` of its simulations drawn again.
    """
    sizes = {store.results: _sizes(store.config) for store in study.stores}
    told: dict[tuple[Path, Experiment], list[str]] = {}
    for found in study.cells:
        where = found.source, found.cell.experiment
        if where not in told:
            told[where] = _notable(found, sizes.get(found.source, {}).get(found.cell.experiment, {}))
    several = len(study.stores) > 1
    names = [
        f"{plain(str(experiment))}{f' of {plain(str(source))}' if several else ''}: {', '.join(texts)}"
        for (source, experiment), texts in told.items()
        if texts
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
    """Return how often simulations of a cell's experiment were drawn again, of each split that has many such."""
    told = []
    for split, (what, setting) in _SPLITS.items():
        redraws, simulations = found.number(f"redraws_{split}"), settings.get(setting, 0)
        # Where it is not known how often, it is not said.
        if redraws > NOTABLE * simulations > 0:
            share = 100 * redraws / simulations
            told.append(f"{redraws:,.0f} for {counted(simulations, f'{what} simulation')} ({share:.2g} %)")
    return told


def _sizes(config: Mapping[str, Any]) -> dict[Experiment, Mapping[str, Any]]:
    """Return the settings of each experiment with bodies; halos are not drawn again."""
    return {
        Experiment(entry["system"], entry["dim"], entry["bodies"], entry["seed"]): entry
        for entry in config.get("experiments", ())
    }
