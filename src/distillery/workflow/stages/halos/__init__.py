"""The stages of experiments with halos; each module has a function of the stage's name."""
