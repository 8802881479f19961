"""Sweeps on Slurm: Snakemake's executor and profiles, requests of jobs, checks of a cluster."""
