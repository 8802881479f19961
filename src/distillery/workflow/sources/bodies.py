"""The source of experiments with bodies: simulated trajectories of systems with a known law."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distillery.errors import DistilleryError
from distillery.util.text import counted
from distillery.util.yaml_file import write_yaml
from distillery.workflow.cell import SPLITS, Cell, Experiment
from distillery.workflow.sources.body_estimates import BodyEstimates
from distillery.workflow.sources.body_sizes import body_sizes
from distillery.workflow.sources.size import Size


class Bodies(BodyEstimates):
    """The experiments with bodies of a configuration."""

    def sizes(self) -> Iterator[Size]:
        """Yield memory and time of the largest jobs, once for each experiment and model."""
        yield from body_sizes(self)

    @property
    def training_steps(self) -> frozenset[int]:
        """The number of training steps."""
        return frozenset({self.config.training.steps} if self.settings else ())

    def summary(self) -> str:
        """Return the numbers of experiments, models, seeds and cells as text."""
        numbers = [
            counted(len(self.settings), "experiment"),
            counted(len(self.config.models), "model"),
            counted(len(self.config.seeds), "seed"),
        ]
        return f"{' × '.join(numbers)} = {counted(len(self.cells), 'cell')}"

    def data_summary(self) -> str:
        """Return the number of trajectories as text."""
        return f"{sum(self.simulations(e, split) for e in self.settings for split in SPLITS):,} trajectories"

    def amounts(self, experiment: Experiment) -> tuple[str, str, str]:
        """Return the numbers of training and test trajectories and of snapshots as text."""
        own = self.settings[experiment]
        return f"{own.simulations:,}", f"{own.test_simulations:,}", f"{own.snapshots:,}"

    def refusal(self) -> str | None:
        """Return the first system that cannot be simulated, with the reason and its remedy; None without one."""
        from distillery.simulate.equations import equations
        from distillery.simulate.strength import never_accelerates, remedy

        for experiment in self.settings:
            system = self.system(experiment)
            try:
                equations(system, experiment.dim, bodies=2)
            except DistilleryError as error:
                return f"{experiment}: {error}, or take it out of experiments"
            if never_accelerates(system, experiment.dim):
                nothing = "accelerations are 0 everywhere, there is no law to find"
                return f"systems.{experiment.system}: {nothing}; {remedy(system)}"
        return None

    def warnings(self) -> list[str]:
        """Return one line for each system with reachable singularities, and for each with weak forces."""
        from distillery.physics.reachable_singularities import warnings_about
        from distillery.simulate.strength import never_accelerates, remarks_on

        largest: dict[str, int] = {}
        for experiment in self.settings:
            largest[experiment.system] = max(experiment.dim, largest.get(experiment.system, 0))
        systems = self.config.known_systems
        singular = [line for name, dim in largest.items() for line in warnings_about(name, systems[name], dim)]
        first = {experiment.system: experiment for experiment in reversed(self.settings)}
        weak = [
            line
            for experiment in first.values()
            if not never_accelerates(self.system(experiment), experiment.dim)
            for line in remarks_on(
                experiment.system, self.system(experiment), experiment.dim, experiment.bodies, experiment.seed
            )
        ]
        return [*singular, *weak]

    def law_text(self, path: Path) -> str:
        """Return a law of a cell, read from the file ``law.json``, as one line."""
        from distillery.laws import text
        from distillery.laws.law import read_law

        return text.line(read_law(path))

    def law_as_system(self, path: Path, cell: Cell) -> str:
        """Return a law of a cell as an entry of the section ``systems``, as YAML."""
        from distillery.laws.law import read_law
        from distillery.laws.potential import as_system, entry_of

        entry = entry_of(as_system(read_law(path), self.system(cell.experiment), cell.experiment.bodies))
        return write_yaml({"systems": {f"{cell.experiment.system}-found": entry}}).rstrip("\n")
