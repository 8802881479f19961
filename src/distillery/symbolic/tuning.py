"""Numbers that steer symbolic regression, with the reason for each; budgets that users change are settings."""

from __future__ import annotations

# --- fronts and forms (``front``, ``shared_form``, ``forms``, ``outliers``)

# Errors below this share of the error of the best constant count as equal: differences are rounding.
ERROR_FLOOR = 1e-6
# Largest error of a form that all components share, relative to that of the components' own choices.
SHARED_FORM_ERROR = 1.1
# Terms up to which an expression is multiplied out; larger ones may have millions.
MOST_EXPANDED_TERMS = 12
# Largest share of samples that are excluded as outliers: a law that acts on few samples must not be among them.
MOST_OUTLIERS = 0.05
# Outliers are farther from the median than this multiple of the distance within which this share of samples lies.
USUAL_SHARE, USUAL_MULTIPLE = 0.8, 4.0

# --- fits of constants (``tidying``)

# Levenberg-Marquardt steps of a fit at most.
FIT_STEPS = 12
# Constants below the first value are measured in units of their own size if the smallest step of a derivative, 1e-9,
# changes the function by more than the second value, relative to the largest target.
TINY, COARSE = 1e-7, 1e-3
# Growth of the error at which the removal of terms stops: shorter forms are then found from shorter expressions.
PRUNING_GROWTH = 2.0

# --- hill climbing (``hill_climbing``)

# Steps from each start.
HILL_CLIMBING_ROUNDS = 8
# A step must lower log(error) by this much per unit of complexity, as the choice from a front demands.
COMPLEXITY_PRICE = 0.03
# Features or inverses in a product that multiplies a part, and in a product that distinguishes a new term.
PRODUCT_FEATURES, NEW_TERM_FEATURES = 2, 4
# Products that are compared at most: a raw system has dozens of features, with hundreds of thousands of products.
MOST_PRODUCTS = 4000
# Best neighbours whose constants are refitted.
NEIGHBOURS_REFITTED = 2
# Operations of the largest expression that hill climbing continues from.
LARGEST_EXPRESSION = 40

# --- threshold split (``threshold_split``)

# Smallest share of the samples on either side.
SMALLEST_SIDE = 0.04
# Thresholds compared for each feature; a feature with fewer different values is not split.
THRESHOLDS = 24
# Largest error with a split, relative to the error without: smaller gains are a bend of the function.
SPLIT_PAYS = 0.8
# Reweightings and relative ridge of the robust regression.
REGRESSION_REWEIGHTINGS, REGRESSION_RIDGE = 4, 1e-8
# Terms of the regression per sample: more would fit noise, and take longer than a search.
MOST_REGRESSION_TERMS = 0.2

# --- operon (``operon``); population, generations and lengths are settings

# Depth of trees, and length of the first ones.
MAX_DEPTH, INITIAL_LENGTH = 10, 10
# Share of mutated offspring, and individuals in a tournament.
MUTATION_PROBABILITY, TOURNAMENT = 0.25, 5
# Relative difference of two errors below which the non-dominated sort takes them for equal.
OPERON_EPSILON = 1e-4
# Generations between two reports of the front.
REPORT_EVERY = 5
# Expressions of the front, evenly spaced, from which hill climbing starts.
HILL_CLIMBING_STARTS = 3
# Expressions of the front of the side that varies more, evenly spaced, that are joined to those of the other side.
JOINED = 6
# Samples on a side of a split below which it is a constant.
FEWEST_SEARCHED = 50
