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


# What a job asks of a cluster; it grows with every attempt.
def memory(stage):
    return lambda wildcards, attempt: house.need(SWEEP, stage, **wildcards).memory(
        attempt
    )


def minutes(stage):
    return lambda wildcards, attempt: house.minutes(SWEEP, stage, attempt, **wildcards)
