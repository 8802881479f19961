"""The interpret stage of halos: errors in held-out space, the spectrum of messages, samples to distil."""

from __future__ import annotations

import numpy as np

from distillery import files
from distillery.errors import NotFiniteError
from distillery.halos.interpretation import measure_formula, measure_network
from distillery.workflow.cell import Cell
from distillery.workflow.stage_lock import stage_lock
from distillery.workflow.stages.halos.inputs import read_formula, read_graphs, read_network, regions_of
from distillery.workflow.sweep import Sweep


def interpret(sweep: Sweep, cell: Cell) -> None:
    """Measure a trained cell in held-out space, and write the results and the samples.

    Args:
        sweep: The sweep.
        cell: A cell of halos whose training is done.

    Raises:
        DistilleryError: Training is not done, or weights or halos are missing or damaged.
    """
    with stage_lock(sweep, "interpret", cell) as now:
        if now is None:
            return
        graph = read_graphs(sweep, cell.experiment, "train")[""]
        regions, samples = regions_of(sweep, cell, graph), cell.messages(sweep.results)
        try:
            if sweep.halo_model(cell).kind == "formula":
                result, arrays = measure_formula(graph, regions, read_formula(cell, now.before))
            else:
                network, settings = read_network(sweep, cell, now.before), sweep.distillation(cell.experiment)
                result, arrays = measure_network(graph, regions, network, settings, cell.seed)
        except NotFiniteError as error:
            samples.unlink(missing_ok=True)
            now.write({}, status="diverged", reason=str(error))
            return
        with files.replacing(samples) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        now.write(result, (samples,))
