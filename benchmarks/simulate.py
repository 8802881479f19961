"""Speed of integrating and writing trajectories, relative to references in the same run.

- One core, spring 2D with 4 bodies and charge 3D with 8, 1,000 saved times: simulations per second of
  `distillery.simulate.integrator` against `jit(vmap(odeint))` of JAX in float64 at the same tolerance, with the best
  of several batch sizes for JAX; the error of both against SciPy's DOP853 at rtol 1e-12. Both return states; the
  additional cost of accelerations and of the layout of the store is listed too.
- Two MPI ranks against one, and the time of writing against that of integrating, for the whole stage.

Compilation is excluded. Rounds alternate and the best of each counts. On one core times are CPU times, so other work on
the machine matters little, except for the ratio of two ranks to one. JAX is no dependency of distillery: install it
into a separate environment and name the Python of that environment:

    python -m venv jax-environment && jax-environment/bin/pip install "jax[cpu]==0.10.2"
    python benchmarks/simulate.py --jax-python jax-environment/bin/python

Without `--jax-python` the comparison with JAX is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from scipy.integrate import solve_ivp

from distillery.physics.systems import SYSTEMS
from distillery.simulate.initial import Bodies, draw
from distillery.simulate.integrator import Integrator
from distillery.workflow.cell import Experiment

TOLERANCE = 1.4e-8
SNAPSHOTS = 1000
BLOCK = 64
# Experiment, the potential for JAX (softened distance r), simulations per round, simulations checked by DOP853.
CASES = (
    (Experiment("spring", 2, 4, 0), "(r - 1.0)**2", 256, 12),
    (Experiment("charge", 3, 8, 0), "q[i]*q[j]/r", 64, 12),
)
REFERENCE = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from jax.experimental.ode import odeint
given = np.load(sys.argv[1], allow_pickle=False)
tolerance, times = float(given["tolerance"]), jnp.asarray(given["times"])
i, j = np.triu_indices(given["mass"].shape[1], 1)

def energy(x, q):
    d = x[i] - x[j]
    r = jnp.sqrt((d * d).sum(-1)) + 0.01
    return (POTENTIAL).sum()

def slope(state, t, m, q):
    x, v = state
    return v, -jax.grad(energy)(x, q) / m[:, None]

def solve(x, v, m, q):
    return odeint(slope, (x, v), times, m, q, rtol=tolerance, atol=tolerance)

run = jax.jit(jax.vmap(solve))
arrays = [given[name] for name in ("position", "velocity", "mass", "charge")]
total = len(arrays[0])
sizes = [int(word) for word in sys.argv[3].split(",")]
for line in sys.stdin:
    best, chosen = None, None
    for size in sizes:
        batches = [[array[start : start + size] for array in arrays] for start in range(0, total, size)]
        jax.block_until_ready(run(*batches[0]))
        begun = time.process_time()
        found = [jax.block_until_ready(run(*batch)) for batch in batches]
        seconds = time.process_time() - begun
        if best is None or seconds < best:
            best, chosen = seconds, size
    np.save(sys.argv[2], np.concatenate([np.asarray(positions) for positions, _ in found]))
    sizes = [chosen]
    print(json.dumps({"seconds": best, "batch": chosen}), flush=True)
"""


def exact(integrator: Integrator, bodies: Bodies, times: np.ndarray) -> np.ndarray:
    """Return the positions of one simulation by DOP853 at rtol 1e-12."""
    shape = bodies.position.shape[1:]

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        x, v = y.reshape(2, 1, *shape)
        return np.concatenate([v.ravel(), integrator.acceleration(Bodies(bodies.mass, bodies.charge, x, v)).ravel()])

    start = np.concatenate([bodies.position.ravel(), bodies.velocity.ravel()])
    found = solve_ivp(slope, (times[0], times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-13)
    return found.y[: start.size // 2].T.reshape(len(times), *shape)


def median_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the median over simulations and times of the largest error, relative to the largest coordinate."""
    axes = (-1, -2)
    return float(np.median((np.abs(found - reference).max(axes) / np.abs(reference).max(axes))[:, 1:]))


def best_of(rounds: int, *runs: Callable[[], float]) -> list[float]:
    """Return the best of several alternating rounds, in seconds, for each run."""
    return [min(times) for times in zip(*[[run() for run in runs] for _ in range(rounds)], strict=True)]


def integrate(jax_python: str | None, rounds: int, folder: Path) -> None:
    for experiment, potential, count, checked in CASES:
        system = SYSTEMS[experiment.system]
        integrator = Integrator(system, experiment.dim, experiment.bodies, TOLERANCE)
        times = np.arange(SNAPSHOTS) * system.time_step
        bodies = draw(system, experiment.dim, experiment.bodies, experiment.seed, "train", range(count), [0] * count)
        motion = integrator.propagate(bodies, times)

        blocks = [bodies[range(start, min(start + BLOCK, count))] for start in range(0, count, BLOCK)]

        def states(
            integrator: Integrator = integrator, times: np.ndarray = times, blocks: list[Bodies] = blocks
        ) -> float:
            begun = time.process_time()
            for block in blocks:
                for _ in integrator.batches(block, times):
                    pass
            return time.process_time() - begun

        def whole(
            integrator: Integrator = integrator, times: np.ndarray = times, blocks: list[Bodies] = blocks
        ) -> float:
            begun = time.process_time()
            for block in blocks:
                integrator.propagate(block, times, np.float32)
            return time.process_time() - begun

        reference = np.stack([exact(integrator, bodies[[index]], times) for index in range(checked)])
        error = median_error(motion.position[:checked], reference)
        label = f"{experiment.system} {experiment.dim}D, {experiment.bodies} bodies, one core"
        if jax_python is None:
            seconds, with_all = best_of(rounds, states, whole)
            print(
                f"{label}: {count / seconds:,.0f} simulations/s ({count / with_all:,.0f} with accelerations), "
                f"median error {error:.1e}",
                flush=True,
            )
            continue
        given, answer = folder / "given.npz", folder / "answer.npy"
        np.savez(given, tolerance=TOLERANCE, times=times, **vars(bodies))
        script = REFERENCE.replace("POTENTIAL", potential)
        flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [jax_python, "-c", script, str(given), str(answer), "1,8,32,128"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **flags},
        ) as process:

            def theirs(process: subprocess.Popen[str] = process) -> float:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("go\n")
                process.stdin.flush()
                return float(json.loads(process.stdout.readline())["seconds"])

            seconds, with_all, reference_seconds = best_of(rounds, states, whole, theirs)
        their_error = median_error(np.load(answer, allow_pickle=False)[:checked], reference)
        print(
            f"{label}: {count / seconds:,.0f} simulations/s against {count / reference_seconds:,.0f} of JAX: "
            f"{reference_seconds / seconds:.1f}× ({reference_seconds / with_all:.1f}× with accelerations); "
            f"median error {error:.1e} against {their_error:.1e}",
            flush=True,
        )


def stage(folder: Path, ranks: int, simulations: int) -> dict[str, float]:
    """Run the stage under mpiexec; return the seconds in total, of integrating and of writing."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        config = Path(place) / "config.yaml"
        experiment = {"system": "spring", "simulations": simulations, "snapshots": SNAPSHOTS}
        content = {"results": f"{place}/results", "experiments": [experiment], "models": ["standard"]}
        config.write_text(yaml.safe_dump(content))
        command = "from distillery.workflow.cli import main; main()"
        arguments = ["simulate", "--config", str(config), "spring-2d-4b-s0", "--split", "train", "--ranks", str(ranks)]
        mpiexec = Path(sys.executable).with_name("mpiexec")
        subprocess.run(
            [mpiexec, "-n", str(ranks), sys.executable, "-c", command, *arguments],
            check=True,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        record = json.loads((Path(place) / "results" / "spring-2d-4b-s0" / "train.json").read_text())
        return {"seconds": record["seconds"], **record["rank_seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jax-python", help="Python of an environment with JAX.")
    parser.add_argument("--rounds", type=int, default=5, help="Rounds, of which the best counts.")
    parser.add_argument("--simulations", type=int, default=4096, help="Simulations of the whole stage.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, cores = Path(place), os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        integrate(options.jax_python, options.rounds, folder)
        os.sched_setaffinity(0, cores)
        records = [[stage(folder, ranks, options.simulations) for ranks in (1, 2)] for _ in range(options.rounds)]
        one, two = (min(record[which]["seconds"] for record in records) for which in (0, 1))
        print(
            f"stage, spring 2D: {options.simulations / one:,.0f} simulations/s on one rank, two ranks {one / two:.2f}×"
        )
        single = min((record[0] for record in records), key=lambda record: record["seconds"])
        print(f"writing takes {single['writing'] / single['integrating']:.2f} of the time that integrating takes")


if __name__ == "__main__":
    main()
