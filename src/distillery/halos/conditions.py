"""Where what predicts the overdensity of halos is tested: held-out space, and universes it never saw."""

from __future__ import annotations

# Beyond this overdensity the paper asked its networks and formulas what they had never seen.
DENSE = 1.0

HELD_OUT = "held-out space"
THIN = f"held-out space, δ ≤ {DENSE:g}"
THICK = f"held-out space, δ > {DENSE:g}"
REALISATION = "another realisation"
COSMOLOGY = "another cosmology"
# In the order in which they are shown.
CONDITIONS = (HELD_OUT, THIN, THICK, REALISATION, COSMOLOGY)
