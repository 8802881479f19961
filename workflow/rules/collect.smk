rule collect:
    input:
        house.verified(SWEEP),
    output:
        STORE,
    log:
        house.path(SWEEP, house.SWEEP_LOG),
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=CONFIG,
        key=SWEEP.collect_key,
    message:
        "collect every cell into one store"
    shell:
        "distillery collect --config {params.config:q} > {log:q} 2>&1"
