"""Versions have one owner, the lock file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LOCKED = {
    name.lower(): version
    for name, _, version in (
        line.partition("==")
        for lock in ("requirements.lock", "requirements-slurm.lock")
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


def test_environment_of_symbolic_regression_holds_no_torch() -> None:
    assert "torch" not in (ROOT / "envs" / "distill.yaml").read_text()


def test_every_rule_names_an_environment_that_exists() -> None:
    named = {
        line.strip().strip('"').removeprefix("../../envs/")
        for rules in (ROOT / "workflow" / "rules").glob("*.smk")
        for line in rules.read_text().splitlines()
        if "../../envs/" in line
    }
    assert named == {path.name for path in ENVIRONMENTS}


def test_lock_has_every_dependency_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name.lower() for name in project["dependencies"]} <= set(LOCKED)
    assert set(project["optional-dependencies"]["slurm"]) <= set(LOCKED)
