# What the rules know of the sweep. Paths and wildcards have one owner, distillery.workflow.cell; the plan is distillery.workflow.sweep.

from distillery.workflow import rules as sweep_rules

if not workflow.config_settings.configfiles:

    configfile: sweep_rules.default_config(workflow.basedir)


SWEEP = sweep_rules.open_sweep(workflow)
CONFIG = sweep_rules.resolved_config(SWEEP)
STORE = sweep_rules.path(SWEEP, sweep_rules.STORE_MARKER)
PICTURES = sweep_rules.pictures(SWEEP)
REPORT = sweep_rules.path(SWEEP, sweep_rules.REPORT_HTML)
begin, finish, gather = sweep_rules.begin, sweep_rules.finish, sweep_rules.gather


wildcard_constraints:
    experiment=sweep_rules.EXPERIMENT_WILDCARD,
    member=sweep_rules.MEMBER_WILDCARD,
    split="train|test",


def outcome(stage):
    return sweep_rules.path(SWEEP, sweep_rules.OUTCOME, stage=stage)


def log_of(name):
    return sweep_rules.path(SWEEP, sweep_rules.LOG, name=name)


def benchmark_of(name):
    return sweep_rules.path(SWEEP, sweep_rules.BENCHMARK, name=name)


def data_key(wildcards):
    return sweep_rules.data_key(SWEEP, wildcards.experiment, wildcards.split)


def test_data_key(wildcards):
    return sweep_rules.data_key(SWEEP, wildcards.experiment, "test")


def category(wildcards):
    return sweep_rules.category(SWEEP, wildcards.experiment)


def job_key(stage):
    return lambda wildcards: sweep_rules.job_key(
        SWEEP, stage, wildcards.experiment, wildcards.member
    )


# An input that is no file: what is there for other settings is made again, whatever Snakemake has noted about it.
def again(rule):
    return lambda wildcards: sweep_rules.force_stale(SWEEP, workflow, rule, **wildcards)


# What a job asks of a cluster: more after it ran out of it.
def memory(stage):
    return lambda wildcards: sweep_rules.memory(SWEEP, stage, **wildcards)


def minutes(stage):
    return lambda wildcards: sweep_rules.minutes(SWEEP, stage, **wildcards)
