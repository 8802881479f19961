"""Names of predictors and tests outside of the training data."""

# Predictors: the network, and its law as distilled, with refitted constants, and with simple ones.
PREDICTORS = ("network", "raw", "refitted", "clean")
# Predictors that are rolled out over long times.
FOLLOWED = ("network", "refitted", "clean")
# Name of rollouts among conditions.
LONG = "long times"
