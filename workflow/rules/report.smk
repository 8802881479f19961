rule picture_experiment:
    input:
        sweep_rules.path(SWEEP, sweep_rules.MARKER, split="test"),
    output:
        report(
            sweep_rules.path(SWEEP, sweep_rules.EXPERIMENT_PICTURE),
            caption="../report/trajectories.rst",
            category=category,
            labels={"experiment": "{experiment}"},
        ),
    log:
        log_of("picture"),
    conda:
        "../../envs/report.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("picture"),
        runtime=minutes("picture"),
    params:
        config=CONFIG,
        key=test_data_key,
    message:
        "draw {wildcards.experiment}"
    shell:
        "distillery picture --config {params.config:q} {wildcards.experiment:q} > {log:q} 2>&1"


rule picture_cell:
    input:
        outcome("verify"),
    output:
        messages=report(
            sweep_rules.path(SWEEP, sweep_rules.CELL_PICTURE, picture="messages"),
            caption="../report/messages.rst",
            category="Messages",
            subcategory="{experiment}",
            labels={"experiment": "{experiment}", "model": "{member}"},
        ),
        front=report(
            sweep_rules.path(SWEEP, sweep_rules.CELL_PICTURE, picture="front"),
            caption="../report/front.rst",
            category="Pareto fronts",
            subcategory="{experiment}",
            labels={"experiment": "{experiment}", "model": "{member}"},
        ),
    log:
        log_of("{member}/picture"),
    conda:
        "../../envs/report.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("picture"),
        runtime=minutes("picture"),
    params:
        config=CONFIG,
        key=job_key("verify"),
    message:
        "draw {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery picture --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"


rule report_sweep:
    input:
        store=STORE,
        pictures=PICTURES,
    output:
        page=REPORT,
        markdown=sweep_rules.path(SWEEP, sweep_rules.REPORT_MARKDOWN),
    log:
        sweep_rules.path(SWEEP, sweep_rules.REPORT_LOG),
    conda:
        "../../envs/report.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("report"),
        runtime=minutes("report"),
    params:
        results=lambda wildcards, output: sweep_rules.folder(output.page),
        key=SWEEP.collect_key,
    message:
        "report the whole sweep on one page"
    shell:
        "distillery report --results {params.results:q} > {log:q} 2>&1"
