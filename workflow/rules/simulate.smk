rule simulate:
    input:
        again("simulate"),
    output:
        sweep_rules.path(SWEEP, sweep_rules.MARKER),
    log:
        log_of("simulate-{split}"),
    benchmark:
        benchmark_of("simulate-{split}")
    priority: sweep_rules.priority("simulate")
    conda:
        "../../envs/simulate.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: sweep_rules.simulate_threads(SWEEP)
    resources:
        **sweep_rules.simulate_tasks(SWEEP),
        mem_mb_per_cpu=memory("simulate"),
        runtime=minutes("simulate"),
    params:
        config=CONFIG,
        key=data_key,
    message:
        "simulate {wildcards.experiment} ({wildcards.split})"
    shell:
        "{resources.launch} distillery simulate --config {params.config:q} {wildcards.experiment:q}"
        " --split {wildcards.split} --ranks {resources.tasks} > {log:q} 2>&1"
