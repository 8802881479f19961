"""Bad configurations are refused with a line that names the key; the schema follows the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.config import load_config, parse_config, schema
from distillery.errors import DistilleryError

ROOT = Path(__file__).parents[1]
SPRING = {"system": "spring", "dim": 2, "bodies": 4}


def sweep(**changes: Any) -> dict[str, Any]:
    return {"experiments": [SPRING], "models": ["l1"], **changes}


def system(potential: str, **more: Any) -> dict[str, Any]:
    return {"systems": {"mine": {"potential": potential, "time_step": 0.01, **more}}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"trainings": {}}, "trainings: unknown key"),
        ({"training": {"stepz": 1}}, r"training\.stepz: unknown key"),
        ({"experiments": [{**SPRING, "system": "sprung"}]}, r"experiments\.0\.system: unknown system 'sprung'; known"),
        ({"models": ["l3"]}, r"models\.0: unknown model 'l3'; known are standard, bottleneck"),
        ({"experiments": [{**SPRING, "dim": 4}]}, r"experiments\.0\.dim: input should be 2 or 3 \(got 4\)"),
        ({"experiments": [{**SPRING, "bodies": 1}]}, r"experiments\.0\.bodies: .* equal to 2 \(got 1\)"),
        ({"experiments": []}, "experiments: is empty"),
        ({"models": []}, "models: is empty"),
        ({"seeds": []}, "seeds: is empty"),
        ({"seeds": [1, 1]}, "seeds: 1 stands twice"),
        ({"seeds": [-1]}, "seeds: seeds are at least 0"),
        ({"seeds": [2**63]}, "seeds: seeds are at least 0 and at most 9223372036854775807"),
        ({"experiments": [{**SPRING, "seed": 2**63}]}, r"experiments\.0\.seed: .*9223372036854775807"),
        ({"distillation": {"seed": 10**30}}, r"distillation\.seed: .*9223372036854775807"),
        ({"verification": {"seed": 10**30}}, r"verification\.seed: .*9223372036854775807"),
        ({"models": ["l1", "l1"]}, "models: 'l1' stands twice"),
        (
            {"execution": {"dask": {"cluster": "slurm", "walltime_minutes": 9}}},
            r"walltime_minutes: 9 leaves workers no time for fits of 300 seconds .*; set it to 10 or more",
        ),
        ({"execution": {"nodes": 2}}, "execution: launcher mpiexec stays on one node"),
        ({"execution": {"launcher": "srun; rm x"}}, r"execution\.launcher: .*srun"),
        ({"execution": {"modules": ["a; b"]}}, r"execution\.modules\.0: .*pattern"),
        ({"experiments": [SPRING, {**SPRING, "simulations": 7}]}, "'spring', 2, 4, 0.* stands twice"),
        ({"training": {"frames": 1}}, r"training\.frames: 1 frame does not move; set it to 2 or more, or to 0"),
        ({"training": {"filmed": ["*/l1-s0"]}}, "training: filmed: goes with frames"),
        (
            {"training": {"frames": 9, "filmed": ["*", "*/l2-s*"]}},
            r"training\.filmed\.1: '\*/l2-s\*' fits no cell; cells are called like spring-2d-4b-s0/",
        ),
        ({"training": {"steps": -5}}, r"training\.steps: .* \(got -5\)"),
        ({"training": {"steps": 1.5}}, r"training\.steps: .*integer"),
        ({"training": {"hidden": "many"}}, r"training\.hidden: .*integer \(got 'many'\)"),
        ({"training": {"learning_rate": "1e-3"}}, r"training\.learning_rate: '1e-3' is read as text; write 0\.001"),
        ({"training": {"learning_rate": float("nan")}}, r"training\.learning_rate: "),
        ({"distillation": {"engine": "eureqa"}}, r"distillation\.engine: .*'operon' or 'pysr'"),
        ({"experiments": [{**SPRING, "snapshots": 7}]}, "snapshots 7 must divide steps 1000"),
        ({"execution": {"dask": {"cluster": "address"}}}, r"execution\.dask: address goes with"),
        (system("r**z"), r"systems\.mine: .*unknown symbol 'z'"),
        (system("m1*(m2"), r"systems\.mine: .*does not parse"),
        (system("__import__('os').system('touch /tmp/owned')"), r"systems\.mine: .*is not allowed"),
        (system("(lambda: r)()"), r"systems\.mine: .*is not allowed"),
        (system("r.__class__"), r"systems\.mine: .*is not allowed"),
        (system("1/0"), r"systems\.mine: .*not a finite real expression"),
        (system("r", damping="much"), r"systems\.mine\.damping: .*number"),
        (system("r", damping="nan"), r"systems\.mine\.damping: input should be a valid number \(got 'nan'\)"),
        (system("r", damping="1e999"), r"systems\.mine\.damping: input should be a valid number \(got '1e999'\)"),
        (system("r", constants={"r": 1.0}), r"systems\.mine\.constants: 'r' cannot name a constant"),
        (
            {"variants": {"some": {"pruned": True, "messages": None, "kept": 3}}, "models": ["some"]},
            r"models\.0: some is pruned to 3 components in 2D, more than the 2 of its messages; set kept to 2 or less",
        ),
        (
            {"variants": {"some": {"pruned": True, "messages": 1}}, "models": ["some"]},
            r"models\.0: some is pruned to 2 components in 2D, more than the 1 of its messages",
        ),
        (
            {"variants": {"some": {"pruned": True, "messages": 2, "kept": 3}}},
            r"variants\.some: kept: 3 components are more than the 2 messages; lower it",
        ),
        (
            {"variants": {"some": {"pruned": True, "messages": 3, "kept": 3}}},
            r"variants\.some: pruned: of the messages all 3 of them are kept, and none is pruned; set messages to more",
        ),
        (
            {"variants": {"some": {"pruned": True, "messages": None}}},
            r"variants\.some: pruned: of the messages as many as space has dimensions are kept, and none is pruned",
        ),
        ({"variants": {"some": {"pruned_by": 0.5}}}, r"variants\.some: pruned_by: goes with pruned: true"),
        (
            {"variants": {"some": {"penalty": "l1", "weight": -0.1}}},
            r"variants\.some\.weight: input should be greater than or equal to 0 \(got -0\.1\)",
        ),
        (
            {"variants": {"some": {"kind": "hamiltonian", "messages": 7}}},
            r"variants\.some: messages: kind: hamiltonian has no 7 components to send; leave it out",
        ),
        (
            {"variants": {"some": {"kind": "control", "messages": 1}}},
            r"variants\.some: messages: kind: control has no 1 components to send; leave it out",
        ),
        (
            {"variants": {"some": {"kind": "control", "penalty": "l1", "weight": 0.1}}},
            r"variants\.some: penalty: kind: control has no messages that l1 could weigh; leave it out",
        ),
        ({"variants": {"some": {"penalty": "l1"}}}, r"variants\.some: weight: missing; how much penalty l1 weighs"),
        ({"systems": {"spring": {"potential": "r", "time_step": 1.0}}}, "built-in system"),
        ({"systems": {"../x": {"potential": "r", "time_step": 1.0}}}, "cannot name a system"),
    ],
)
def test_bad_input_is_refused_with_its_key(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(DistilleryError, match=line) as caught:
        parse_config(sweep(**changes), "config.yaml")
    assert all(text.startswith("config.yaml: ") for text in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "variant",
    [
        {"kind": "hamiltonian"},
        {"kind": "hamiltonian", "messages": 1, "penalty": "l1", "weight": 0.01},
        {"kind": "control"},
        {"pruned": True, "pruned_by": 0.5},
        {"pruned": True, "messages": None, "kept": 1},
    ],
)
def test_variants_that_mean_something_are_read_back_as_they_are_written(variant: dict[str, Any]) -> None:
    found = parse_config(sweep(variants={"some": variant}, models=["some"]))
    assert parse_config(found.model_dump(mode="json")) == found


def test_syntax_error_names_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("experiments:\n  - {system: spring\nmodels: [l1]\n")
    with pytest.raises(DistilleryError, match=r"config\.yaml, line 3, column 7: not valid YAML"):
        load_config(path)


def test_only_what_is_wrong_is_told() -> None:
    with pytest.raises(DistilleryError) as caught:
        parse_config(sweep(experiments=[{**SPRING, "dim": 4}, {**SPRING, "bodies": 1}], models=[]), "config.yaml")
    told = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert told == ["experiments.0.dim", "experiments.1.bodies", "models"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "models: [l1]\ntraining:\n  steps: 5\n  steps: 6\n",
            r"config\.yaml, line 4, column 3: .*'steps' stands twice",
        ),
        ("models: [l1]\nseeds: [0]\nmodels: [kl]\n", r"config\.yaml, line 3, column 1: .*'models' stands twice"),
        ("experiments: &a [*a]\nmodels: [l1]\n", r"config\.yaml: is nested without end"),
        ("models: &a {b: *a}\n", r"config\.yaml: is nested without end"),
        ("&a [*a]\n", r"config\.yaml: is not a mapping"),
        ("a: " + "[" * 5000, r"config\.yaml: is nested without end"),
        ("results: 2001-99-99\n", r"config\.yaml: not valid YAML"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(DistilleryError, match=line) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 1


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "experiments: [&a {system: spring, bodies: 3}, &b {<<: *a, bodies: 4}, {<<: *b, bodies: 5}]\nmodels: [l1]\n"
    )
    assert [experiment.bodies for experiment in load_config(path).experiments] == [3, 4, 5]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistilleryError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_checked_in_schema_is_that_of_the_models() -> None:
    written = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    assert written == schema(), "run: distillery schema workflow/schemas/config.schema.json"


def test_every_field_is_described() -> None:
    for name, definition in {"Config": schema(), **schema()["$defs"]}.items():
        for key, field in definition["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"


@pytest.mark.parametrize(
    "path", ["config.yaml", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("workflow/presets/*.yaml"))]
)
def test_shipped_configurations_are_valid_and_point_to_the_schema(path: str) -> None:
    load_config(ROOT / path)
    first = (ROOT / path).read_text().splitlines()[0]
    reference = first.removeprefix("# yaml-language-server: $schema=")
    assert ((ROOT / path).parent / reference).resolve() == ROOT / "workflow/schemas/config.schema.json"


def test_resolved_configuration_reads_back_the_same() -> None:
    config = load_config(ROOT / "workflow/presets/paper.yaml")
    again = parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config


def test_paper_preset_has_every_cell_of_tables_1_and_3() -> None:
    config = load_config(ROOT / "workflow/presets/paper.yaml")
    systems = {"charge", "damped", "discontinuous", "r^-1", "r^-2", "spring"}
    assert {(e.system, e.dim) for e in config.experiments} == {(s, d) for s in systems for d in (2, 3)}
    assert {"standard", "bottleneck", "l1", "kl-paper", "flathgn"} <= set(config.models)
    assert all(e.simulations == 10_000 and e.snapshots == 1000 for e in config.experiments)
