rule verify:
    input:
        batch_marker,
    output:
        outcome("verify"),
    log:
        log_of("{member}/verify"),
    benchmark:
        benchmark_of("{member}/verify")
    conda:
        "../../envs/distill.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        config=CONFIG,
        key=cell_key("verify"),
    message:
        "verify {wildcards.experiment}/{wildcards.member}"
    shell:
        "distillery verify --config {params.config:q} {wildcards.experiment:q}/{wildcards.member:q} > {log:q} 2>&1"
