"""Clusters: Slurm and Dask."""
