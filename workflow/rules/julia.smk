# Julia for the engine pysr: installed once on this machine, which has a network; fits then run offline.

from distillery.symbolic import julia
from distillery.workflow.engines import depot_of

DEPOT = depot_of(SWEEP.config.execution)
# Input of a fit. Its age is ignored: preparing the depot again repeats no fit.
JULIA = (
    [ancient(str(julia.marker(DEPOT)))]
    if "pysr" in SWEEP.config.distillation.engines
    else []
)


rule julia_setup:
    output:
        # Other sweeps may share the depot: the marker stays until it is replaced.
        update(str(julia.marker(DEPOT))),
    log:
        sweep_rules.path(SWEEP, "logs/julia-setup.log"),
    priority: 100
    localrule: True
    conda:
        "../../envs/distill.yaml"
    envmodules:
        *SWEEP.config.execution.modules,
    threads: 1
    params:
        config=CONFIG,
        versions=[julia.version_of(name) or "" for name in ("pysr", "juliacall")],
    message:
        "prepare Julia for PySR"
    shell:
        "distillery julia-setup --config {params.config:q} > {log:q} 2>&1"
