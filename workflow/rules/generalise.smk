rule generalise:
    input:
        outcome("replace"),
        again("generalise"),
    output:
        outcome("generalise"),
    log:
        log_of("{member}/generalise"),
    benchmark:
        benchmark_of("{member}/generalise")
    priority: sweep_rules.priority("generalise")
    conda:
        "../../envs/train.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("generalise"),
        runtime=minutes("generalise"),
    params:
        config=CONFIG,
        key=job_key("generalise"),
    message:
        "generalise {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery generalise --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
