"""Whether a network or a law holds where the network never was: other conditions, and long times."""
