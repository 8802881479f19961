"""Test conditions of predictors of the overdensity: held-out space, and other universes."""

from __future__ import annotations

# Overdensity above which the paper tests networks and formulas that were trained below it (dimensionless).
DENSE = 1.0

HELD_OUT = "held-out space"
THIN = f"held-out space, δ ≤ {DENSE:g}"
THICK = f"held-out space, δ > {DENSE:g}"
REALISATION = "another realisation"
COSMOLOGY = "another cosmology"
# In the order of the tables.
CONDITIONS = (HELD_OUT, THIN, THICK, REALISATION, COSMOLOGY)
