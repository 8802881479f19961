"""Versions have one owner, the lock file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support import fakeconda, sweeps

ROOT = Path(__file__).parents[2]
LOCKED = {
    name.lower(): version
    for name, _, version in (
        line.partition("==")
        for lock in ("requirements.lock", "requirements-slurm.lock", "requirements-pysr.lock")
        for line in (ROOT / lock).read_text().lower().splitlines()
    )
    if version
}
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environments_hold_the_locked_versions(path: Path) -> None:
    (pip,) = (entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict))
    pins = dict(pin.lower().split("==") for pin in pip)
    assert pins == {name: LOCKED[name] for name in pins}, "run: python envs/lock.py --envs"


def test_environment_of_symbolic_regression_holds_both_engines_and_no_torch() -> None:
    content = (ROOT / "envs" / "distill.yaml").read_text()
    assert "- pysr==" in content
    assert "- pyoperon==" in content
    assert "torch" not in content
    packages = [line.strip(" -").partition("==")[0] for line in content.splitlines() if "==" in line]
    assert "torch" not in fakeconda.provided(packages)


def test_every_rule_names_an_environment_that_exists() -> None:
    named = {
        line.strip().strip('"').removeprefix("../../envs/")
        for rules in (ROOT / "workflow" / "rules").glob("*.smk")
        for line in rules.read_text().splitlines()
        if "../../envs/" in line
    }
    assert named == {path.name for path in ENVIRONMENTS}


RULES = [rules.read_text() for rules in (ROOT / "workflow" / "rules").glob("*.smk")]
STAGES = re.compile(r"envs/(\w+)\.yaml.*?distillery ([\w-]+) ", re.DOTALL)
OF_HALOS = [path.stem for path in (ROOT / "src/distillery/workflow/stages/halos").glob("[a-z]*.py")]
assert OF_HALOS
IMPORTED = {"picture": "workflow.stages.report", "julia-setup": "symbolic.julia_setup"}


STAGES_OF = {
    path.stem: sorted(
        {stage for rules in RULES for environment, stage in STAGES.findall(rules) if environment == path.stem}
    )
    for path in ENVIRONMENTS
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("train", "report") else name for name in STAGES_OF],
)
def test_every_stage_imports_only_what_its_environment_lists(environment: str, tmp_path: Path) -> None:
    hidden = fakeconda.hidden(ROOT / "envs" / f"{environment}.yaml")
    (tmp_path / "sitecustomize.py").write_text(fakeconda.HIDING.format(hidden=hidden))
    stages = STAGES_OF[environment]
    assert stages
    modules = [IMPORTED.get(stage, f"workflow.stages.{stage}") for stage in stages]
    modules += [f"workflow.stages.halos.{stage}" for stage in stages if stage in OF_HALOS]
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    wanted = ", ".join(f"distillery.{module}" for module in modules)
    subprocess.run([sys.executable, "-c", f"import distillery.workflow.cli, {wanted}"], check=True, env=environ)


def test_lock_has_every_dependency_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name.lower() for name in project["dependencies"]} <= set(LOCKED)
    assert {*project["optional-dependencies"]["slurm"], *project["optional-dependencies"]["pysr"]} <= set(LOCKED)


@pytest.mark.slow
@pytest.mark.workflow
def test_every_stage_works_with_what_its_environment_lists(
    tiny: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell all the way under --sdm conda; only conda is a stand-in, which hides what an environment does not list."""
    unbroken, _ = tiny
    monkeypatch.setenv("PATH", str(fakeconda.install(tmp_path / "conda")), prepend=":")
    config = sweeps.write_config(tmp_path, {**sweeps.TINY, "models": ["bottleneck"]})
    sweeps.snakemake(tmp_path, config, "--sdm", "conda")
    made = sorted((tmp_path / ".snakemake" / "conda").glob("*/bin/distillery"))
    assert len(made) == len(ENVIRONMENTS)
    # What is not listed is hidden indeed: without this the test would show nothing.
    asked = [[file.with_name("python"), "-c", "import torch"] for file in made]
    seen = [subprocess.run(words, capture_output=True, check=False) for words in asked]
    assert sorted(done.returncode for done in seen) == [0, 1, 1, 1]
    last, cells = "generalise", ["bottleneck-s0"]
    assert sweeps.outcomes(tmp_path, last, cells) == sweeps.outcomes(unbroken, last, cells)
    assert sweeps.store_of(tmp_path)["cells"]["status"].item() == "ok"
