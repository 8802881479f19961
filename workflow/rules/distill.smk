rule distill:
    input:
        batch_inputs,
    output:
        house.path(SWEEP, house.BATCH),
    log:
        log_of("distill-{batch}"),
    benchmark:
        benchmark_of("distill-{batch}")
    conda:
        "../../envs/distill.yaml"
    threads: SWEEP.config.execution.dask.workers
    resources:
        mem_mb=4000,
    params:
        config=CONFIG,
        key=batch_key,
    message:
        "distill {wildcards.experiment} (batch {wildcards.batch})"
    shell:
        "distillery distill --config {params.config:q} {wildcards.experiment:q} --batch {wildcards.batch}"
        " > {log:q} 2>&1"
