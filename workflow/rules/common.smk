# What the rules know of the sweep. Paths and wildcards have one owner, distillery.cell; the plan is distillery.sweep.

from distillery import workflow as house

if not workflow.config_settings.configfiles:

    configfile: house.default_config(workflow.basedir)


SWEEP = house.open_sweep(config, workflow.config_settings.configfiles)
CONFIG = house.resolved_config(SWEEP)
STORE = house.path(SWEEP, house.STORE_MARKER)
PICTURES = house.pictures(SWEEP)
begin, finish, gather = house.begin, house.finish, house.gather


wildcard_constraints:
    experiment=house.EXPERIMENT_WILDCARD,
    member=house.MEMBER_WILDCARD,
    split="train|test",
    batch=r"\d+",


def outcome(stage):
    return house.path(SWEEP, house.OUTCOME, stage=stage)


def log_of(name):
    return house.path(SWEEP, house.LOG, name=name)


def benchmark_of(name):
    return house.path(SWEEP, house.BENCHMARK, name=name)


def data_key(wildcards):
    return house.data_key(SWEEP, wildcards.experiment, wildcards.split)


def test_data_key(wildcards):
    return house.data_key(SWEEP, wildcards.experiment, "test")


def cell_key(stage):
    return lambda wildcards: house.cell_key(
        SWEEP, stage, wildcards.experiment, wildcards.member
    )


def batch_key(wildcards):
    return house.batch_key(SWEEP, wildcards.experiment, wildcards.batch)


def batch_inputs(wildcards):
    return house.batch_inputs(SWEEP, wildcards.experiment, wildcards.batch)


def batch_marker(wildcards):
    return house.batch_marker(SWEEP, wildcards.experiment, wildcards.member)
