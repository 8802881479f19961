"""Universes: halos as many as published fits say, the same bits from the same seed, and realisations on MPI ranks."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from distillery.errors import DistilleryError
from distillery.halos import universe as universes
from distillery.halos.catalogue import Catalogue, read_catalogue
from distillery.halos.cosmology import Cosmology
from distillery.halos.universe import LARGE, MEDIUM, SMALL, Universe, grow, grow_all, path_of
from distillery.simulate.ranks import joined

LIMIT = 300
MPIEXEC = Path(sys.executable).with_name("mpiexec")
# Coarse, so that there are halos in a moment.
TINY = Universe(particles=24, box=100.0, steps=6, minimum_particles=8, cosmology=Cosmology(sigma_8=0.9))
STAGE = f"""
import sys
from pathlib import Path
from distillery.errors import DistilleryError
from distillery.halos.universe import Universe, grow_all
from distillery.simulate.ranks import joined
universe = Universe.model_validate_json({TINY.model_dump_json()!r})
try:
    with joined(int(sys.argv[2])) as crew:
        grow_all(universe, [0, 1, 2, 3], Path(sys.argv[1]), crew)
except DistilleryError as error:
    sys.exit(f"distillery: {{error}}")
"""


def start(folder: Path, ranks: int, code: str = STAGE) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI_", "SLURM_"))}
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-c", code, str(folder), str(ranks)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env={**clean, "OMP_NUM_THREADS": "1"}, check=False
    )


def complaints(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What went to standard error, without the progress of the work."""
    return [line for line in ended.stderr.splitlines() if line.strip() and not line.startswith("universe ")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def same(one: Catalogue, other: Catalogue) -> bool:
    names = ("position", "velocity", "mass", "particles", "overdensity")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.fixture(scope="module")
def tiny() -> Catalogue:
    return grow(TINY, 0)


def test_halos_are_where_matter_is(tiny: Catalogue) -> None:
    assert len(tiny.mass) > 20
    assert np.all(np.diff(tiny.mass) <= 0)
    assert tiny.particles.min() >= 8
    np.testing.assert_allclose(tiny.mass, tiny.particles * TINY.cosmology.particle_mass(24**3, 100.0))
    assert np.all((tiny.position >= 0) & (tiny.position < 100.0))
    # Halos form where there is more matter than elsewhere; their motion is of hundreds of km/s.
    delta = tiny.smoothed(20.0)
    assert np.average(delta, weights=tiny.mass) > 0.2
    assert 100 < np.sqrt((tiny.velocity**2).sum(1).mean()) < 1000
    assert (tiny.attributes["seed"], tiny.attributes["redshift"], tiny.attributes["omega_m"]) == (0, 0.0, 0.1755)


def test_the_seed_decides(tiny: Catalogue) -> None:
    assert same(tiny, grow(TINY, 0, workers=2))
    other = grow(TINY, 1)
    assert not np.array_equal(other.position, tiny.position)


def test_no_halo_is_one_line() -> None:
    smooth = Universe(particles=16, box=100.0, steps=2, cosmology=Cosmology(sigma_8=0.05))
    with pytest.raises(DistilleryError, match=r"seed 3: no halo of 20 particles .* among 16³ in 100 Mpc/h; raise"):
        grow(smooth, 3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"filters": (70.0,)}, "half of the box"),
        ({"filters": (2.0,)}, "twice the distance between particles"),
        ({"filters": (20.0, 20.0)}, "stands twice"),
        ({"filters": ()}, "filters"),
        ({"particles": 4}, "particles"),
        ({"box": 0.0}, "box"),
        ({"start_redshift": 0.0}, "start_redshift"),
    ],
)
def test_what_cannot_be_grown_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Universe(**changes)  # type: ignore[arg-type]


def test_presets_have_one_spacing_and_grow_in_memory() -> None:
    assert {preset.spacing for preset in (SMALL, MEDIUM, LARGE)} == {1.953125}
    sizes = [preset.memory_mb for preset in (SMALL, MEDIUM, LARGE)]
    assert sizes[0] < sizes[1] < 2000 < sizes[2] < 8000


def test_settings_and_seed_are_in_the_key() -> None:
    keys = {universes.key(TINY, 0), universes.key(TINY, 1), universes.key(SMALL, 0)}
    other = TINY.model_copy(update={"cosmology": Cosmology()})
    assert len(keys | {universes.key(other, 0)}) == 4
    assert universes.key(Universe(), 0) == universes.key(SMALL, 0)


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_is_stale_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[int] = []
    real = universes.grow

    def counted(universe: Universe, seed: int, workers: int, label: str | None) -> Catalogue:
        grown.append(seed)
        return real(universe, seed, workers, label)

    monkeypatch.setattr(universes, "grow", counted)
    (tmp_path / ".halos-s0.zarr.abc.part").mkdir()
    for universe, expected in ((TINY, [0, 1]), (TINY, []), (TINY.model_copy(update={"steps": 5}), [0, 1])):
        with joined(1) as crew:
            assert grow_all(universe, [0, 1], tmp_path, crew) == [path_of(tmp_path, 0), path_of(tmp_path, 1)]
        assert grown == expected
        grown.clear()
    (tmp_path / "halos-s1.zarr" / "mass" / "c.0").unlink()
    with joined(1) as crew:
        grow_all(TINY.model_copy(update={"steps": 5}), [0, 1], tmp_path, crew)
    assert grown == [1]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["halos-s0.zarr", "halos-s1.zarr"]


def test_a_seed_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with joined(1) as crew, pytest.raises(DistilleryError, match="seeds: 4 stands twice"):
        grow_all(TINY, [4, 5, 4], tmp_path, crew)


@pytest.mark.slow
def test_any_number_of_ranks_gives_the_same_bits(tmp_path: Path, tiny: Catalogue) -> None:
    found = []
    for ranks in (1, 2, 3):
        folder = tmp_path / f"ranks {ranks}"
        ended = start(folder, ranks)
        assert ended.returncode == 0, ended.stderr
        assert complaints(ended) == []
        found.append(contents(folder))
    assert found[0] == found[1] == found[2]
    assert same(read_catalogue(tmp_path / "ranks 2" / "halos-s0.zarr"), tiny)


@pytest.mark.slow
def test_an_error_on_one_rank_ends_all_with_one_line_and_it_goes_on(tmp_path: Path) -> None:
    faulty = (
        "from distillery.errors import DistilleryError\nfrom distillery.halos import universe as u\nreal = u.grow\n"
        "def fail(universe, seed, workers, label):\n"
        "    if seed == 2:\n"
        "        raise DistilleryError('seed 2: broke; mend it')\n"
        "    return real(universe, seed, workers, label)\n"
        "u.grow = fail\n"
    ) + STAGE
    ended = start(tmp_path, 2, faulty)
    assert ended.returncode == 1
    assert complaints(ended) == ["distillery: seed 2: broke; mend it"]
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in contents(tmp_path)}
    assert {name.split("/")[0] for name in kept} >= {"halos-s0.zarr", "halos-s1.zarr"}
    assert "halos-s2.zarr" not in {name.split("/")[0] for name in kept}
    again = start(tmp_path, 2)
    assert again.returncode == 0, again.stderr
    assert all((tmp_path / name).stat().st_mtime_ns == when for name, when in kept.items())
    for seed in range(4):
        read_catalogue(path_of(tmp_path, seed))


@pytest.mark.slow
def test_a_rank_that_dies_ends_all_and_leaves_nothing_half(tmp_path: Path) -> None:
    dying = (
        "import os\nfrom distillery.halos import universe as u\nreal = u.grow\n"
        "def die(universe, seed, workers, label):\n"
        "    if seed == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return real(universe, seed, workers, label)\n"
        "u.grow = die\n"
    ) + STAGE
    assert start(tmp_path, 2, dying).returncode != 0
    whole = [entry for entry in tmp_path.glob("*") if re.fullmatch(r"halos-s\d\.zarr", entry.name)]
    assert "halos-s2.zarr" not in [entry.name for entry in whole]
    for entry in whole:
        read_catalogue(entry)
    assert start(tmp_path, 2).returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"halos-s{seed}.zarr" for seed in range(4)]


@pytest.mark.slow
def test_halos_are_as_many_as_warren_says() -> None:
    """The mass function of friends-of-friends halos by Warren et al. (2006), from 50 particles to 5e14 Msun/h."""
    theirs = pytest.importorskip("colossus.cosmology.cosmology")
    from colossus.lss import mass_function

    seeds, cosmology = range(4), SMALL.cosmology
    mass = np.concatenate([grow(SMALL, seed).mass for seed in seeds])
    given = {
        "flat": True, "H0": 100 * cosmology.h, "Om0": cosmology.omega_m, "Ob0": cosmology.omega_b,
        "sigma8": cosmology.sigma_8, "ns": cosmology.n_s, "relspecies": False,
    }  # fmt: skip
    theirs.setCosmology("grown", given, persistence="")
    edges = np.geomspace(50 * cosmology.particle_mass(64**3, 125.0), 5e14, 4)
    for low, high in itertools.pairwise(edges):
        masses = np.geomspace(low, high, 100)
        density = mass_function.massFunction(masses, 0.0, mdef="fof", model="warren06", q_out="dndlnM")
        expected = np.trapezoid(density, np.log(masses)) * SMALL.box**3 * len(seeds)
        found = int(((mass >= low) & (mass < high)).sum())
        assert abs(found / expected - 1) < 0.25, f"{found} halos from {low:.2g} to {high:.2g}, not {expected:.0f}"
