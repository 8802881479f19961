"""Trajectories: initial conditions, equations of motion, integration, MPI ranks, and the Zarr store."""

# Steps that the integrator makes at most for a trajectory: for any, and for each of the system's time steps. The latter
# is three orders of magnitude above what close encounters were seen to need (11,000 for 1,000 time steps), so only a
# step size that collapses comes here.
MOST_STEPS, MOST_STEPS_PER_TIME_STEP = 100_000, 1000
