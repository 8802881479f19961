# Values of the sweep for the rules. distillery.workflow.cell defines paths and wildcards, distillery.workflow.sweep the cells.

from distillery.workflow import rules as sweep_rules
from distillery.workflow import run as sweep_run
from distillery.workflow.sweep import resolved_path

if not workflow.config_settings.configfiles:

    configfile: sweep_run.default_config(workflow.basedir)


SWEEP = sweep_run.open_sweep(workflow)
CONFIG = str(resolved_path(SWEEP))
STORE = sweep_rules.path(SWEEP, sweep_rules.STORE_MARKER)
PICTURES = sweep_rules.pictures(SWEEP)
REPORT = sweep_rules.path(SWEEP, sweep_rules.REPORT_HTML)
begin, finish, gather = sweep_run.begin, sweep_run.finish, sweep_run.gather


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


# An empty input: forces jobs whose outcomes were made with other settings, regardless of their modification times.
def again(rule):
    return lambda wildcards: sweep_rules.force_stale(SWEEP, workflow, rule, **wildcards)


# Resources that a job requests from a cluster: more after it ran out of them.
def memory(stage):
    return lambda wildcards: sweep_rules.memory(SWEEP, stage, **wildcards)


def minutes(stage):
    return lambda wildcards: sweep_rules.minutes(SWEEP, stage, **wildcards)
