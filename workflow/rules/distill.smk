rule distill:
    input:
        outcome("interpret"),
        JULIA,
        again("distill"),
    output:
        outcome("distill"),
    log:
        log_of("{member}/distill"),
    benchmark:
        benchmark_of("{member}/distill")
    priority: sweep_rules.priority("distill")
    conda:
        "../../envs/distill.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: sweep_rules.distill_threads(SWEEP)
    resources:
        **sweep_rules.distill_tasks(SWEEP, memory("distill")),
        runtime=minutes("distill"),
    params:
        config=CONFIG,
        key=job_key("distill"),
    message:
        "distill {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery distill --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
