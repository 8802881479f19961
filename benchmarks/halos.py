"""What networks and formulas predict of overdensities: ``python benchmarks/halos.py TRAIN.zarr [OTHER.zarr …]``.

Trains networks on one catalogue, distils the message and the node function of the one that sees masses, refits the
paper's formulas and our own, and prints the mean |δ - δ̂|, with its standard error, on held-out space of the same box
and on the other catalogues; then the same for what was trained on δ ≤ 1 alone, on both sides of that. A line comes when
its numbers are there. ``docs/halos-learning.md`` holds such a table.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from distillery.distill.child import close_children, fit_here
from distillery.halos.catalogue import read_catalogue
from distillery.halos.features import HaloGraph, halo_graph
from distillery.halos.forms import NAMES, form
from distillery.halos.found import laws
from distillery.halos.generalisation import Error, Model, below, error_of, in_and_out
from distillery.halos.law import HaloLaw, write_law
from distillery.halos.refit import refit
from distillery.halos.regions import Regions, split
from distillery.halos.samples import message_problem, node_problem, reading_of
from distillery.halos.spectrum import spectrum
from distillery.halos.text import line
from distillery.halos.training import HaloTraining, Trained, train
from distillery.settings import DistillationSettings, OperonSettings
from distillery.train.run import choose_device

SEARCH = DistillationSettings(
    samples=4000,
    held_out=2000,
    operators=("+", "-", "*", "/", "^"),
    seconds=3000.0,
    operon=OperonSettings(population=500, generations=50, samples=1000, max_length=25),
)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def shown(error: Error) -> str:
    return f"{error.mean:.4f} ± {error.standard:.4f}"


class Study:
    """One catalogue to learn from, and others to be asked about."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, choose_device(options.device)
        self.graph = self._graph(options.catalogues[0])
        box = self.graph.neighbours.box
        self.regions: Regions = split(self.graph.neighbours.position, box, options.smoothing)
        self.others = {path.stem: self._graph(path) for path in options.catalogues[1:]}
        sizes = [len(part) for part in (self.regions.train, self.regions.validation, self.regions.test)]
        say(f"{len(self.graph)} halos, {len(self.graph.neighbours.senders)} edges; train, validation, test: {sizes}")
        say("| model | complexity | train | held-out space | " + " | ".join(self.others) + " |")

    def _graph(self, path: Path) -> HaloGraph:
        return halo_graph(read_catalogue(path), self.options.radius, self.options.smoothing)

    def row(self, name: str, model: Model, complexity: int | str = "") -> None:
        """Print the errors of a model in the box and on the other catalogues."""
        own = [error_of(model, self.graph, part) for part in (self.regions.train, self.regions.test)]
        far = [error_of(model, graph, np.arange(len(graph))) for graph in self.others.values()]
        say(f"| {name} | {complexity} | " + " | ".join(shown(error) for error in (*own, *far)) + " |")

    def below_row(self, name: str, model: Model) -> None:
        """Print the errors of a model on both sides of δ = 1."""
        inside, outside = in_and_out(model, self.graph, self.regions.test)
        say(f"| {name} | {shown(inside)} | {shown(outside)} | {inside.halos}, {outside.halos} |")

    def trained(self, *, mass: bool, receivers: np.ndarray | None = None) -> Trained:
        """Train a network, on all training halos if none are given."""
        options = self.options
        settings = HaloTraining(
            hidden=options.hidden,
            messages=options.messages,
            steps=options.steps,
            batch=options.batch,
            learning_rate=options.learning_rate,
            weight=options.weight,
            mass=mass,
            rotations=not options.as_it_lies,
        )
        chosen = self.regions.train if receivers is None else receivers
        folder = (
            None if options.folder is None else options.folder / f"{'all' if receivers is None else 'below'}-{mass}"
        )
        result = train(self.graph, chosen, settings, device=self.device, folder=folder)
        say(f"  {result.edges_per_second:,.0f} edges/s{'; ' + result.reason if result.reason else ''}")
        return result

    def refitted(self, law: HaloLaw, receivers: np.ndarray) -> HaloLaw:
        """Refit a law to halos and print it."""
        fit = refit(law, self.graph, receivers, starts=self.options.starts)
        at_bound = f"; at bound: {', '.join(fit.at_bound)}" if fit.at_bound else ""
        say(f"  {line(fit.law)}{at_bound}{'; has poles' if fit.poles else ''}")
        return fit.law


def spectrum_of(study: Study, trained: Trained) -> np.ndarray:
    found = spectrum(trained, study.graph, study.regions.test)
    few = slice(0, 5)
    say(f"  std of messages {found.std[few].round(4).tolist()} …, power of axes {found.power[few].round(4).tolist()} …")
    say(f"  error with k components {found.error_std[few].round(4).tolist()} …, all {found.error:.4f}")
    say(f"  error with k axes {found.error_axes[few].round(4).tolist()} …")
    say(f"  enough: {found.enough()} components, {found.enough(axes=True)} axes")
    return found.direction(axes=True)


def own_law(study: Study, trained: Trained, direction: np.ndarray) -> HaloLaw:
    graph, regions = study.graph, study.regions
    reading = reading_of(trained, graph, regions.train, direction, receiver_factor=study.options.factor)
    fronts = []
    for name, make in (("message", message_problem), ("node", node_problem)):
        result = fit_here(make(reading, graph, regions.train, regions.validation, SEARCH))
        say(f"  {name}: {result.status} in {result.seconds:.0f} s {result.reason}")
        for place, point in enumerate(result.front):
            mark = "→" if place == result.chosen else " "
            say(f"  {mark} {point.complexity:3} {point.mae:.4f} {point.score:.3f} {point.expression}")
        fronts.append([point.expression for point in result.front])
    close_children()
    found = laws(*fronts, graph, regions.train, regions.validation, most=study.options.most)
    say(f"  {found.tried} pairs tried, {found.left_out} left out")
    for place, candidate in enumerate(found.candidates):
        mark = "→" if place == found.chosen else " "
        test = error_of(candidate.law, graph, regions.test)
        point = candidate.point
        say(f"  {mark} {point.complexity:3} {point.mae:.4f} test {test.mean:.4f} {line(candidate.law)}")
    chosen, last = found.candidates[found.chosen], found.candidates[-1]
    study.row("own, chosen", chosen.law, chosen.point.complexity)
    study.row("own, best", last.law, last.point.complexity)
    equal = found.at(form("with mass", 20.0).complexity)
    if equal is not None:
        study.row("own, no more complex than the paper's", equal.law, equal.point.complexity)
    if study.options.keep:
        write_law(study.options.keep, (equal or chosen).law)
    return (equal or chosen).law


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogues", nargs="+", type=Path)
    parser.add_argument("--radius", type=float, default=50.0)
    parser.add_argument("--smoothing", type=float, default=20.0)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--messages", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--weight", type=float, default=1e-2)
    parser.add_argument("--as-it-lies", action="store_true", help="do not turn the universe at random in each step")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--factor", action="store_true", help="take the receiver's own factor out of messages")
    parser.add_argument("--folder", type=Path, help="where networks are kept, for another run to go on from")
    parser.add_argument("--keep", type=Path, help="where our own law is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    study = Study(options)
    regions = study.regions

    forms = {}
    for name in NAMES:
        forms[name] = study.refitted(form(name, options.smoothing), regions.train)
        study.row(name, forms[name], forms[name].complexity)
    with_mass = study.trained(mass=True)
    study.row("network with mass", with_mass)
    direction = spectrum_of(study, with_mass)
    forms["own"] = own_law(study, with_mass, direction)
    study.row("network without mass", study.trained(mass=False))

    say("| trained on δ ≤ 1 | in | out | halos |")
    inside = below(study.graph, regions.train)
    for name, law in forms.items():
        study.below_row(name, study.refitted(law, inside))
    study.below_row("network with mass", study.trained(mass=True, receivers=inside))
    say(f"{time.process_time() - started:.0f} s of the processor, fits of expressions not counted")


if __name__ == "__main__":
    main()
