# What the rules know of the sweep. Paths and wildcards have one owner, distillery.cell; the plan is distillery.sweep.

from distillery import workflow as house

if not workflow.config_settings.configfiles:

    configfile: house.default_config(workflow.basedir)


SWEEP = house.open_sweep(workflow)
CONFIG = house.resolved_config(SWEEP)
STORE = house.path(SWEEP, house.STORE_MARKER)
PICTURES = house.pictures(SWEEP)
REPORT = house.path(SWEEP, house.REPORT_HTML)
begin, finish, gather = house.begin, house.finish, house.gather


wildcard_constraints:
    experiment=house.EXPERIMENT_WILDCARD,
    member=house.MEMBER_WILDCARD,
    split="train|test",


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


def category(wildcards):
    return house.category(SWEEP, wildcards.experiment)


def job_key(stage):
    return lambda wildcards: house.job_key(
        SWEEP, stage, wildcards.experiment, wildcards.member
    )


# An input that is no file: what is there for other settings is made again, whatever Snakemake has noted about it.
def again(rule):
    return lambda wildcards: house.force_stale(SWEEP, workflow, rule, **wildcards)


# What a job asks of a cluster: more after it ran out of it.
def memory(stage):
    return lambda wildcards: house.memory(SWEEP, stage, **wildcards)


def minutes(stage):
    return lambda wildcards: house.minutes(SWEEP, stage, **wildcards)
