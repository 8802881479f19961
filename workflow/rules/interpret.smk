rule interpret:
    input:
        outcome("train"),
        sweep_rules.path(SWEEP, sweep_rules.MARKER, split="train"),
        sweep_rules.path(SWEEP, sweep_rules.MARKER, split="test"),
        again("interpret"),
    output:
        outcome("interpret"),
    log:
        log_of("{member}/interpret"),
    benchmark:
        benchmark_of("{member}/interpret")
    priority: sweep_rules.priority("interpret")
    conda:
        "../../envs/train.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    resources:
        mem_mb=memory("interpret"),
        runtime=minutes("interpret"),
    params:
        config=CONFIG,
        key=job_key("interpret"),
    message:
        "interpret {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery interpret --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
