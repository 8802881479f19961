"""Whether a network or a law holds where the network never was: other conditions, and long times."""

# What predicts: the network, and its law as distilled, with refitted constants, and with simple ones.
PREDICTORS = ("network", "raw", "refitted", "clean")
# Those that are followed over long times.
FOLLOWED = ("network", "refitted", "clean")
# What rollouts are called among conditions.
LONG = "long times"
