"""Bad configurations are refused with a line that names the key; the schema follows the models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery.errors import DistilleryError
from distillery.util.yaml_file import read_text, write_yaml
from distillery.workflow.config import load_config, parse_config, schema, unused

ROOT = Path(__file__).parents[2]
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
        (
            {"experiments": [SPRING, {**SPRING, "simulations": 7}]},
            r"experiments\.1: spring-2d-4b-s0 is experiments\.0 already; change system, dim, bodies or seed of one",
        ),
        ({"models": "l1"}, r"models: 'l1' is no list; write \[l1\]"),
        ({"seeds": 3}, r"seeds: 3 is no list; write \[3\]"),
        ({"experiments": SPRING}, "experiments: must be a list; begin each of its entries with a dash"),
        ({"experiments": ["spring"]}, r"experiments\.0: must hold keys with values \(got 'spring'\)"),
        ({"training": [1]}, "training: must hold keys with values"),
        ({"training": {"steps": None}}, r"training\.steps: is empty; give it a value, or leave the key out"),
        ({"results": None}, "results: is empty"),
        ({"seeds": None}, "seeds: is empty"),
        ({"results": 2026}, "results: 2026 is read as a number; put it in quotes"),
        ({"models": [False]}, r"models\.0: is read as false \(as no and off are\); put it in quotes"),
        ({"training": {"steps": True}}, r"training\.steps: is read as true .*; write a number"),
        ({"replacement": {"robust": "yes"}}, r"replacement\.robust: 'yes' is text; write true or false without quotes"),
        ({"execution": {"dask": {"walltime_minutes": "1:30:00"}}}, r"'1:30:00' is a time; write one number of minutes"),
        ({"results": "run {1}"}, r"results: '\{' marks a wildcard of Snakemake"),
        ({"results": "a\0b"}, r"results: holds the character '\\x00'; remove it"),
        ({"a\0": 1}, r"a\\x00: holds the character"),
        ({"results": "x" * 300}, "results: a name in the path is longer than 255 bytes"),
        (
            {"systems": {"x" * 300: {"potential": "r", "time_step": 1.0}}},
            "systems: 'x*…' is too long .* at most 100 bytes",
        ),
        ({"variants": {"é" * 60: {}}}, "variants: .* is too long to name a model"),
        ({"halos": [{"name": "h" * 300}]}, r"halos\.0\.name: .*at most 100 characters"),
        (
            {"distillation": {"operators": ["if"]}},
            r"distillation\.operators: no number comes of if alone; add one of \+",
        ),
        ({"experiments": [{**SPRING, "operators": [">", "<"]}]}, r"experiments\.0\.operators: no number comes of >, <"),
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
        ("seeds: [1\n", r"config\.yaml, line 2, column 1: not valid YAML"),
        ("models: [l1]\n---\nmodels: [kl]\n", r"config\.yaml, line 2, column 1: not valid YAML \(but found another"),
        ("models: [l1]\nseeds: \0\n", r"config\.yaml, line 2: not valid YAML \(the character '.x00' is not allowed"),
        ("results: !!python/name:os.system\n", r"config\.yaml, line 1, column 10: not valid YAML"),
        ("1: 2\n'1': 3\n", r"config\.yaml, line 2, column 1: .*'1' stands twice"),
        (
            '{"seeds": [1],\n\t"models": ["l1"],\n\t"seeds": [2]}',
            r"config\.yaml, line 3, column 2: .*'seeds' stands twice",
        ),
        ('{"seeds": [1,}', r"config\.yaml, line 1, column 14: not valid YAML"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(DistilleryError, match=line) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("010", 10), ("008", 8), ("0x1f", 31), ("0o17", 15), ("10_000", 10_000), ("+5", 5)),
        *(("1e-8", 1e-8), ("1e6", 1_000_000), ("2.5e3", 2500), (".5", 0.5), ("5.", 5.0), ("1e400", math.inf)),
        *(("1:30:00", "1:30:00"), ("2026-11-30", "2026-11-30"), ("2026_11_30", "2026_11_30"), ("1.2.3", "1.2.3")),
        *(("yes", True), ("off", False), ("~", None), ("y", "y"), ("'1e5'", "1e5"), ("'010'", "010")),
    ],
)
def test_scalars_are_read_as_people_mean_them_and_written_so_that_every_reader_agrees(text: str, value: Any) -> None:
    found = read_text(f"key: {text}", "given")["key"]
    assert (found, type(found)) == (value, type(value))
    written = write_yaml({"key": value})
    assert read_text(written, "given") == yaml.safe_load(written) == {"key": value}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read_text("{no: 1, 2: &a 3, 1e5: *a, <<: {x: 1}}", "given") == {"no": 1, "2": 3, "1e5": 3, "x": 1}


def test_sections_without_keys_have_their_defaults() -> None:
    empty = dict.fromkeys(("systems", "variants", "simulation", "training", "execution"))
    assert parse_config(sweep(**empty)) == parse_config(sweep())
    assert parse_config({"halos": [{"other_cosmology": None}]}).halos[0].other_cosmology is None


def test_json_reads_like_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"experiments":\t[{"system":"spring"}],\n"models":["l1"],"training":{"steps":1e3}}')
    assert load_config(path).training.steps == 1000


def test_parts_that_nothing_uses_are_named() -> None:
    systems = {
        "mine": {"potential": "k*r", "constants": {"k": 1.0, "rest": 1.0}, "time_step": 0.1},
        "other": {"potential": "r", "time_step": 0.1},
    }
    variants = {"strong": {"penalty": "l1", "weight": 0.1}, "weak": {"penalty": "l1", "weight": 0.01}}
    used = sweep(experiments=[{"system": "mine"}], systems=systems, variants=variants, models=["weak"])
    assert unused(parse_config(used)) == [
        "systems.mine.constants.rest: the formulas do not depend on it; remove it, or use it in them",
        "systems.other: no experiment uses it; name it in experiments, or remove it",
        "variants.strong: no experiment trains it; add it to models, or remove it",
    ]


def test_an_error_names_the_part_of_the_configuration_that_gave_the_key() -> None:
    with pytest.raises(DistilleryError) as caught:
        parse_config(sweep(trainng=3, seeds=[]), lambda key: {"trainng": "--config"}.get(key, "file"))
    assert sorted(line[:16] for line in str(caught.value).splitlines()) == ["--config: trainn", "file: seeds: is "]


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
