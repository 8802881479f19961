"""The keys and resources that a Slurm profile may have, to report misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# Resources of a job that snakemake-executor-plugin-slurm 2.8 (submit_string, utils, partitions, its Executor) and its
# jobstep 0.6 read; a test compares this list with their source. Snakemake accepts and ignores any other name.
_OF_SLURM = """
    slurm_partition slurm_account slurm_extra slurm_cluster cluster clusters constraint qos
    mem_mb mem_mb_per_cpu runtime nodes tasks tasks_per_node tasks_per_gpu mpi mpi_tasks
    cpus_per_task cpus_per_gpu threads gpu gpu_model gres
"""
# Resources of Snakemake itself (snakemake.resources): sizes in three spellings, and the folder of temporary files.
_OF_SNAKEMAKE = "mem mem_mib disk disk_mb disk_mib tmpdir"
# jobstep reads these too, but they are not requested from Slurm: such a job gets no GPU.
_MEANT = {"gpus": "gpu", "nvidia_gpu": "gpu", "node": "nodes", "slurm_nodes": "nodes", "partition": "slurm_partition"}
_MEANT |= {"account": "slurm_account", "time": "runtime", "walltime": "runtime", "slurm_qos": "qos"}
_MEANT |= {"slurm_constraint": "constraint", "memory": "mem_mb", "ntasks": "tasks", "cpus": "cpus_per_task"}
# Keys of a profile that may hold a mapping (snakemake.profiles); Snakemake drops any other mapping without a word.
_MAPPINGS = """
    set-threads resources set-scatter batch set-resource-scopes default-resources config groups group-components
    consider-ancient set-resources
"""
OF_SLURM, OF_SNAKEMAKE, MAPPINGS = (frozenset(words.split()) for words in (_OF_SLURM, _OF_SNAKEMAKE, _MAPPINGS))


def unknown_sections(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key of a profile whose mapping Snakemake would drop."""
    for key, value in content.items():
        if isinstance(value, Mapping) and key not in MAPPINGS:
            yield f"{key}: Snakemake knows no such section{nearest(key, MAPPINGS)}"


def unknown_resource(place: str, name: str, own: Collection[str]) -> str | None:
    """Return a line if neither Snakemake nor its executor reads a resource of this name.

    Args:
        place: Section of the profile.
        name: The resource.
        own: Names that the workflow itself uses.
    """
    known = OF_SLURM | OF_SNAKEMAKE | set(own)
    if name in known:
        return None
    hint = f"; did you mean {_MEANT[name]}?" if name in _MEANT else nearest(name, known)
    return f"{place}.{name}: neither Snakemake nor its Slurm executor knows this resource{hint}"


def unknown_rule(place: str, name: str, rules: Collection[str]) -> str | None:
    """Return a line if the workflow has no rule of that name."""
    if not rules or name in rules:
        return None
    return f"{place}.{name}: the workflow has no rule of this name{nearest(name, rules)}"


def nearest(word: str, known: Collection[str]) -> str:
    """Return the most similar known word as a question, or all known words if none is similar."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.7)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; known are {', '.join(sorted(known))}" if len(known) <= 15 else ""
