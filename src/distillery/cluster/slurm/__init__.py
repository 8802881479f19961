"""Commands, partitions, queue and test jobs of Slurm; not needed on a single machine."""
