"""Dark matter halos: simulated universes, or catalogues of Quijote, and laws of the overdensity around halos."""
