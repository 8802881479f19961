rule simulate:
    output:
        house.path(SWEEP, house.MARKER),
    log:
        log_of("simulate-{split}"),
    benchmark:
        benchmark_of("simulate-{split}")
    conda:
        "../../envs/simulate.yaml"
    threads: SWEEP.config.execution.ranks
    resources:
        mem_mb=2000,
    params:
        config=CONFIG,
        key=data_key,
    message:
        "simulate {wildcards.experiment} ({wildcards.split})"
    shell:
        "mpiexec -n {threads} distillery simulate --config {params.config:q} {wildcards.experiment:q}"
        " --split {wildcards.split} --ranks {threads} > {log:q} 2>&1"
