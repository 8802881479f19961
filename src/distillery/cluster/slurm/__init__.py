"""What the package knows of Slurm; nothing here is needed on a single machine."""
