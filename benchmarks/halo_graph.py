"""Speed and memory of the neighbour search: ``python benchmarks/halo_graph.py [--halos 215854] [--box 1000]``.

By default the halos of the paper's catalogue in number, uniform in its box, which gives 24 million directed edges; a
clustered catalogue has more. Prints CPU seconds and the increase of the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from distillery.halos.graph import neighbours
from distillery.randomness import stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--halos", type=int, default=215_854)
    parser.add_argument("--box", type=float, default=1000.0)
    parser.add_argument("--radius", type=float, default=50.0)
    options = parser.parse_args()
    position = stream(0, "benchmark", "halos").uniform(0, options.box, (options.halos, 3))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    graph = neighbours(position, options.box, options.radius)
    seconds = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    edges = len(graph.senders)
    sys.stdout.write(
        f"{edges:,} edges in {seconds:.1f} s, {edges / seconds:,.0f}/s; peak {grown / 1e6:.0f} MB, "
        f"{grown / edges:.1f} bytes an edge; {(graph.senders.nbytes + graph.starts.nbytes) / 1e6:.0f} MB stay\n"
    )
    started = time.process_time()
    for place in graph.pieces(np.arange(options.halos), 1_000_000):
        graph.edges(np.arange(place.start, place.stop))
    sys.stdout.write(f"displacements of all edges in pieces of a million: {time.process_time() - started:.1f} s\n")


if __name__ == "__main__":
    main()
