"""The plan: what a sweep takes, and a refusal where the disk is too small."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distillery.data.store import Store
from distillery.errors import DistilleryError
from distillery.physics.systems import System
from distillery.simulate import equations
from distillery.workflow import run
from distillery.workflow.cli import main
from distillery.workflow.config import load_config
from distillery.workflow.limits import refusal_of_sizes
from distillery.workflow.plan import duration, plan, plan_text, require_room, size
from distillery.workflow.slurm import require
from distillery.workflow.sweep import Sweep
from distillery.workflow.trajectory_layout import layout
from support.fabricate import messages
from support.sweeps import ROOT


def test_the_plan_counts_cells_and_work(make_sweep: Any) -> None:
    sweep = make_sweep(
        experiments=[{"system": "spring", "simulations": 3000}, {"system": "charge", "dim": 3, "bodies": 8}],
        models=["bottleneck", "l1"],
        seeds=[0, 1, 2],
    )
    text = plan_text(sweep)
    assert text.startswith("2 experiments × 2 models × 3 seeds = 12 cells")
    assert "6,600 trajectories" in text
    assert "60 fits by operon" in text
    assert "14 drawings" in text
    assert not sweep.results.exists()


def test_more_work_takes_longer_and_only_where_it_is_more(make_sweep: Any) -> None:
    def seconds(**changes: Any) -> dict[str, float]:
        return {entry.stage: entry.seconds for entry in plan(make_sweep(**changes)).stages}

    base = seconds()
    longer = seconds(training={"steps": 140_000})
    assert longer["train"] > 5 * base["train"]
    assert {**longer, "train": 0} == {**base, "train": 0}
    wider = seconds(training={"hidden": 300})
    assert wider["train"] > 3 * base["train"]
    assert seconds(distillation={"seconds": 1.0})["distill"] < base["distill"]
    assert seconds(models=["bottleneck", "l1"])["verify"] == 2 * base["verify"]


def test_trajectories_are_counted_in_bytes(make_sweep: Any) -> None:
    sweep = make_sweep(experiments=[{"system": "spring", "simulations": 6400, "test_simulations": 64, "steps": 1000}])
    planned = plan(sweep)
    least = 6464 * 50 * 4 * 2 * 3 * 4  # simulations, snapshots, bodies, dimensions, variables, bytes
    assert least <= planned.data[sweep.experiments[0]] < 1.5 * least
    before = planned.missing
    messages(sweep, sweep.cells[0])
    assert plan(sweep).missing < before


def test_frames_are_counted_where_they_are_kept(make_sweep: Any) -> None:
    def planned(**training: Any) -> tuple[int, float]:
        whole = plan(make_sweep(models=["bottleneck", "l1"], training=training))
        return whole.missing, next(entry.seconds for entry in whole.stages if entry.stage == "interpret")

    none, one, both = planned(), planned(frames=20, filmed=["*/bottleneck-*"]), planned(frames=20)
    assert none < one < both
    edge = 12 * 64 + 2 * 64 * 64 + 64 * 2
    assert one[0] - none[0] >= 20 * 4 * edge


def test_too_small_a_disk_is_refused_in_one_line(make_sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep()
    require_room(sweep)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    assert "only 1.0 kB are free" in plan_text(sweep)
    with pytest.raises(
        DistilleryError, match=r"results: the sweep needs .* more, but only 1.0 kB are free; lower"
    ) as caught:
        require_room(sweep)
    assert "\n" not in str(caught.value)
    assert not sweep.results.exists()


def test_fits_are_counted_by_function(make_sweep: Any) -> None:
    experiments = [{"system": "spring"}, {"system": "spring", "dim": 3}]

    def text(model: str, **changes: Any) -> str:
        return plan_text(make_sweep(experiments=experiments, models=[model], **changes))

    assert "10 fits by operon" in text("l1")
    assert "5 fits by operon" in text("l1", distillation={"functions": ["message"]})
    assert "4 fits by operon" in text("flathgn")
    assert "5 fits by operon" in text("control")


def test_what_has_no_network_needs_no_time_to_train(make_sweep: Any) -> None:
    def trained(*models: str) -> float:
        return next(e.seconds for e in plan(make_sweep(models=list(models))).stages if e.stage == "train")

    assert trained("bottleneck", "control") - trained("bottleneck") < 10 < trained("bottleneck")


@pytest.mark.parametrize(
    "changes", [{"simulations": 10**12}, {"simulations": 10**30}, {"snapshots": 10**15, "steps": 10**15}]
)
@pytest.mark.parametrize("begun", [False, True])
def test_sizes_that_cannot_be_are_refused_at_once(make_sweep: Any, changes: dict[str, int], begun: bool) -> None:
    sweep = make_sweep(experiments=[{"system": "spring", **changes}])
    if begun:
        other = make_sweep(experiments=[{"system": "spring", "snapshots": 10}])
        Store(
            other.experiments[0].store(other.results, "train"), layout(other, other.experiments[0], "train")
        ).prepare()
    with pytest.raises(DistilleryError, match=r"results: the sweep needs .* more, but only") as caught:
        require_room(sweep)
    assert "\n" not in str(caught.value)
    assert str(caught.value) in plan_text(sweep)


MINE = {"potential": "(r - 1)**2", "time_step": 0.01}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"systems": {"mine": {**MINE, "time_step": 1e300}}}, "systems.mine.time_step"),
        ({"systems": {"mine": {**MINE, "time_step": 1e6}}}, "systems.mine.time_step"),
        ({"systems": {"mine": {**MINE, "potential": "1e12*(r - 1)**2"}}}, "systems.mine.time_step"),
        ({"generalisation": {"conditions": {"many": {"bodies": 20_000}}}}, "generalisation.conditions.many.bodies"),
        ({"generalisation": {"simulations": 10**9}}, "generalisation.simulations"),
        ({"generalisation": {"snapshots": 10**9}}, "generalisation.snapshots"),
        ({"generalisation": {"length": 1e12}}, "generalisation.length"),
        ({"distillation": {"operon": {"population": 10**12}}}, "distillation.operon.population"),
        ({"distillation": {"operon": {"max_length": 10**9}}}, "distillation.operon.max_length"),
        ({"training": {"batch": 10**9}}, "training.batch"),
        ({"training": {"hidden": 10**7}}, "training.hidden"),
        ({"training": {"layers": 10**8}}, "training.layers"),
        ({"training": {"steps": 10**15}}, "training.steps"),
        ({"execution": {"ranks": 10**5}}, "execution.ranks"),
        ({"execution": {"dask": {"workers": 10**6}}}, "execution.dask.workers"),
        ({"experiments": [{"system": "spring", "bodies": 10**6, "snapshots": 1, "simulations": 1}]}, "experiments.bod"),
        ({"experiments": [{"system": "spring", "steps": 10**15}]}, "experiments.steps"),
        ({"variants": {"wide": {"messages": 10**9}}, "models": ["wide"]}, "variants.wide.messages"),
        ({"verification": {"receivers": 10**9}}, "verification.receivers"),
        ({"interpretation": {"references": 10**10}}, "interpretation.references"),
        ({"halos": [{"training": {"steps": 10**15}}]}, "halos.training.steps"),
    ],
)
def test_what_cannot_end_is_refused_in_one_line_that_names_its_setting(
    make_sweep: Any, changes: dict[str, Any], key: str
) -> None:
    if "systems" in changes:
        changes = {**changes, "experiments": [{"system": "mine"}]}
    sweep = make_sweep(**changes)
    refusal = plan(sweep).refusal
    assert refusal is not None
    assert refusal.startswith(key)
    assert refusal.splitlines() == [refusal]
    assert re.search(r"needs about .* of memory; .* have|has|a job may take|does not come to its end", refusal)
    with pytest.raises(DistilleryError, match=re.escape(refusal)):
        require_room(sweep)
    assert not sweep.results.exists()


def test_a_number_beyond_all_machines_is_refused(make_sweep: Any) -> None:
    with pytest.raises(DistilleryError, match=r"^training.steps: about 1e400 is more than any machine can do; lower"):
        require_room(make_sweep(training={"steps": 10**400}))


@pytest.mark.parametrize("preset", sorted((ROOT / "workflow/presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_can_end(preset: Path, tmp_path: Path) -> None:
    sweep = Sweep(load_config(preset), tmp_path)
    assert refusal_of_sizes(sweep, duration, cluster=preset.stem == "paper") is None


def test_a_cluster_may_have_more_memory_than_this_machine(make_sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.workflow.limits.machine_mb", lambda: 100.0)
    here, there = make_sweep(), make_sweep(execution={"launcher": "srun --mpi=pmi2"})
    assert "this machine has 100 MB" in str(plan(here).refusal)
    assert plan(here, cluster=True).refusal is None
    assert plan(there).refusal is None


def test_the_plan_fails_where_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"results: {tmp_path}/results\nexperiments: [{{system: spring, simulations: 64}}]\nmodels: [l1]\n"
    )
    main_of_plan = ["plan", "--config", str(config)]
    with pytest.raises(SystemExit) as ended:
        main(main_of_plan)
    assert not ended.value.code
    config.write_text(config.read_text() + "training: {batch: 1000000000}\n")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(main_of_plan)
    assert ended.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("training.batch 1,000,000,000")


def test_longer_time_steps_and_more_bodies_elsewhere_take_longer(make_sweep: Any) -> None:
    def seconds(stage: str, **changes: Any) -> float:
        return next(e.seconds for e in plan(make_sweep(**changes)).stages if e.stage == stage)

    def simulated(step: float, stiffness: float = 1.0) -> float:
        system = {**MINE, "potential": f"{stiffness}*(r - 1)**2", "time_step": step}
        return seconds("simulate", systems={"mine": system}, experiments=[{"system": "mine"}])

    assert simulated(0.01) == simulated(0.001)
    assert simulated(10.0) > 3 * simulated(0.01)
    assert simulated(0.01, 1e6) > 3 * simulated(0.01)
    many = {"conditions": {"many": {"bodies": 200}}}
    few = {"conditions": {"many": {"bodies": 8}}}
    assert seconds("generalise", generalisation=many) > 50 * seconds("generalise", generalisation=few)


def test_results_that_are_a_file_are_refused(make_sweep: Any) -> None:
    sweep = make_sweep()
    sweep.results.write_text("")
    assert "results: is a file" in plan_text(sweep).splitlines()[-1]
    for results in (sweep.results, sweep.results / "deeper"):
        with pytest.raises(DistilleryError, match=r"results: is a file, but results are written to a folder"):
            require_room(Sweep(sweep.config, results))


def test_what_a_stage_cannot_do_is_refused_before_anything_starts(
    make_sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(system: System, dim: int, bodies: int) -> None:
        raise DistilleryError("a condition is no comparison")

    monkeypatch.setattr(equations, "equations", unable)
    sweep = make_sweep()
    text = plan_text(sweep)
    assert "In all about" in text
    line = r"spring-2d-4b-s0: a condition is no comparison, or take it out of experiments"
    with pytest.raises(DistilleryError, match=line) as caught:
        require_room(sweep)
    assert text.splitlines()[-1] == str(caught.value)
    assert not sweep.results.exists()


# Of the second the force alone is singular.
@pytest.mark.parametrize("potential", ["-m1*m2/r", "sqrt(r)"])
def test_a_potential_that_is_singular_is_warned_of(
    make_sweep: Any, potential: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def singular(softening: float) -> Sweep:
        mine = {"potential": potential, "time_step": 0.01, "softening": softening}
        sweep: Sweep = make_sweep(systems={"mine": mine}, experiments=[{"system": "mine"}])
        return sweep

    line = f"systems.mine: {potential!r} or its force is not finite at r = 0"
    assert line in plan_text(singular(0.0))
    assert "not finite" not in plan_text(singular(0.01))
    # A run says it too, whether or not its plan was asked for.
    monkeypatch.setattr(require, "require_site", lambda _snakemake: {})
    run.begin(singular(0.0), SimpleNamespace(scheduler=None, dag=SimpleNamespace(needrun_jobs=list)))
    assert f"warning: {line}" in capsys.readouterr().err


def test_places_where_formulas_are_singular_are_warned_of_in_the_dimensions_that_are_asked_for(make_sweep: Any) -> None:
    mine = {"potential": "1/(r - 0.02)", "time_step": 0.01, "body_potential": "1/(z - 1)"}

    def told(*dims: int) -> list[str]:
        experiments = [{"system": "mine", "dim": dim} for dim in dims]
        text = plan_text(make_sweep(systems={"mine": mine}, experiments=experiments))
        return [line for line in text.splitlines() if line.startswith("systems.")]

    (flat,) = told(2)
    assert flat.startswith("systems.mine: the force of '1/(r - 0.02)' is not finite at r = 0.01; simulations whose")
    assert told(2, 3) == told(3, 2) == told(3)
    assert told(3)[1].startswith("systems.mine: body_potential '1/(z - 1)' or its force is not finite at x = 0, y = 0")


def test_sizes_and_times_are_readable() -> None:
    assert [size(n) for n in (999, 1500, 250_000_000, 3_200_000_000_000, 4_500_000_000_000_000)] == [
        "999 B",
        "1.5 kB",
        "250 MB",
        "3.2 TB",
        "4500 TB",
    ]
    assert [duration(s) for s in (5.0, 600.0, 7200.0, 1e6)] == ["5 s", "10 min", "2 h", "12 days"]
