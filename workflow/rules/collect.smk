rule collect:
    input:
        sweep_rules.ended(SWEEP),
        again("collect"),
    output:
        STORE,
    log:
        sweep_rules.path(SWEEP, sweep_rules.SWEEP_LOG),
    conda:
        "../../envs/report.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("collect"),
        runtime=minutes("collect"),
    params:
        config=CONFIG,
        key=SWEEP.collect_key,
    message:
        "collect every cell into one store"
    shell:
        "distillery collect --config {params.config:q} > {log:q} 2>&1"
