rule replace:
    input:
        outcome("verify"),
        again("replace"),
    output:
        outcome("replace"),
    log:
        log_of("{member}/replace"),
    benchmark:
        benchmark_of("{member}/replace")
    priority: sweep_rules.priority("replace")
    conda:
        "../../envs/train.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("replace"),
        runtime=minutes("replace"),
    params:
        config=CONFIG,
        key=job_key("replace"),
    message:
        "replace {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery replace --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
