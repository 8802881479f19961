rule train:
    input:
        house.path(SWEEP, house.MARKER, split="train"),
        again("train"),
    output:
        outcome("train"),
    log:
        log_of("{member}/train"),
    benchmark:
        benchmark_of("{member}/train")
    priority: house.priority("train")
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
