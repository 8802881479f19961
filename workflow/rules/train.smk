rule train:
    input:
        sweep_rules.path(SWEEP, sweep_rules.MARKER, split="train"),
        again("train"),
    output:
        outcome("train"),
    log:
        log_of("{member}/train"),
    benchmark:
        benchmark_of("{member}/train")
    priority: sweep_rules.priority("train")
    conda:
        "../../envs/train.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train"),
    params:
        config=CONFIG,
        key=job_key("train"),
    message:
        "train {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery train --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
