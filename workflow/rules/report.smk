rule picture_experiment:
    input:
        house.path(SWEEP, house.MARKER, split="test"),
    output:
        report(
            house.path(SWEEP, house.EXPERIMENT_PICTURE),
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
            house.path(SWEEP, house.CELL_PICTURE, picture="messages"),
            caption="../report/messages.rst",
            category="Messages",
            subcategory="{experiment}",
            labels={"experiment": "{experiment}", "model": "{member}"},
        ),
        front=report(
            house.path(SWEEP, house.CELL_PICTURE, picture="front"),
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
        markdown=house.path(SWEEP, house.REPORT_MARKDOWN),
    log:
        house.path(SWEEP, house.REPORT_LOG),
    conda:
        "../../envs/report.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("report"),
        runtime=minutes("report"),
    params:
        results=lambda wildcards, output: house.folder(output.page),
        key=SWEEP.collect_key,
    message:
        "report the whole sweep on one page"
    shell:
        "distillery report --results {params.results:q} > {log:q} 2>&1"
