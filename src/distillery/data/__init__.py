"""Trajectories: one container, reading and writing."""
