rule train:
    input:
        house.path(SWEEP, house.MARKER, split="train"),
    output:
        outcome("train"),
    log:
        log_of("{member}/train"),
    benchmark:
        benchmark_of("{member}/train")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        config=CONFIG,
        key=cell_key("train"),
    message:
        "train {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery train --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
