rule verify:
    input:
        outcome("distill"),
        again("verify"),
    output:
        outcome("verify"),
    log:
        log_of("{member}/verify"),
    benchmark:
        benchmark_of("{member}/verify")
    priority: sweep_rules.priority("verify")
    conda:
        "../../envs/distill.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("verify"),
        runtime=minutes("verify"),
    params:
        config=CONFIG,
        key=job_key("verify"),
    message:
        "verify {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery verify --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
