"""Trajectories: initial conditions, equations of motion, integration, MPI ranks, and the Zarr store."""
