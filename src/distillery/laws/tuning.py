"""Numbers that steer the search for a law, with the reason for each; none is a setting, for no user needs to change it.

"Typical acceleration" is the median size of the accelerations in the data. Trajectories are stored in float32, so a
relative error of about 1e-7 is rounding.
"""

from __future__ import annotations

from fractions import Fraction

# --- search among forms (``replace``, ``choose``, ``prefit``, ``hill_climbing``, ``energies``)

# Share of the budget for the search among forms; the rest is for the constants of the chosen form.
SEARCH_SHARE = 0.6
# Snapshots on which forms are compared: half to fit constants, half to measure errors.
PREFIT_SNAPSHOTS = 800
# Reweightings of the regression that minimises absolute deviations.
PREFIT_REWEIGHTINGS = 4
# Singular values below this share of the largest one count as zero: the columns are then linearly dependent.
PREFIT_RANK = 1e-10
# Laws made of expressions on the fronts that are compared at most, the simplest first.
MOST_LAWS = 300
# Terms of such a law at most.
MOST_FRONT_TERMS = 8
# Best laws whose terms are removed one by one; most promising laws for hill climbing and for a fit of all constants.
SHORTENED, HILL_CLIMBING_STARTS, FITTED = 8, 4, 3
# Best laws with a threshold whose threshold is fitted before laws are compared.
THRESHOLDS_FITTED = 2
# Evaluations of a law in a fit during the comparison.
COMPARISON_EVALUATIONS = 30
# Relative error, in units of the error of no force, below which a law is exact up to the rounding of trajectories.
EXACT = 1e-4
# A form replaces the messages' own choice only below this share of its error: otherwise it is mostly the same form.
BETTER = 0.9
# A plain law replaces an effectively equal, more complex one if its error is at most this many times as large, or is
# below this share of the error of no force, which stored trajectories cannot resolve.
AS_EXACT, EXACT_ROUNDING = 10.0, 1e-6
# Steps of hill climbing from each start.
HILL_CLIMBING_ROUNDS = 6
# A step must lower log(error) by this much per unit of complexity; the same as in distillation.
COMPLEXITY_PRICE = 0.03
# Features or inverses in the product by which a step multiplies, and terms of a law during hill climbing.
PRODUCT_FEATURES, MOST_CLIMBING_TERMS = 2, 6
# Neighbours of least error whose complexity is computed, which takes longer than their error.
COMPLEXITY_COMPUTED = 12

# --- terms (``compose``, ``vector``)

# Terms of a composed expression: the product of two distilled ones may have as many as both together.
MOST_COMPOSED_TERMS = 60
# Terms of a distilled expression that is multiplied out to terms of a vector law.
MOST_VECTOR_TERMS = 12

# --- fits of constants (``refit``, ``clean``, ``branches``, ``softening``, ``threshold``)

# Evaluations of a law in a fit, from each start.
EVALUATIONS = 100
# A constant that grew by this factor, or to this value, belongs to a term that the data do not support.
DIVERGED = 1e3
# Directions in which unit steps of all constants change the law by less than this share determine no constant.
UNDETERMINED = 1e-7
# Smallest scale of residuals, in typical accelerations: float32 rounding.
RESIDUAL_ROUNDING = 1e-7
# Snapshots on which several starts are compared; more do not change which start is the best.
START_SNAPSHOTS = 5000
# Simple numbers, the first of two that agree is chosen.
SIMPLE_NUMBERS = tuple(Fraction(n, d) for d in (1, 2, 3, 4) for n in range(1, 11) if d == 1 or (n < 2 * d and n % d))
# Standard errors within which a constant agrees with a number, and the largest relative error of such a constant.
AGREEING, SHARP = 3.0, 0.03
# Rounding of a constant, relative to it, and of a term, in typical accelerations.
CONSTANT_ROUNDING = 1e-6
# Largest loss of a law with the same constants for all axes, relative to the loss of one with separate constants.
SHARED_LOSS = 1.1
# Standard errors beyond which a change of a mean error is significant, and the change that is rounding.
SIGNIFICANT, ERROR_ROUNDING = 2.0, 1e-7
# Starts of the softening in typical distances, and the largest value that is still a softening.
SOFTENING_STARTS, LARGEST_SOFTENING = (0.003, 0.01, 0.03), 0.3
# Largest share of the loss that a law with softening may leave: one more constant must pay.
SOFTENING_PAYS = 0.9
# Standard errors by which a softening must differ from zero.
SOFTENING_SIGNIFICANT = 3.0
# Residual, in typical accelerations, below which softening could only fit rounding.
SOFTENING_ROUNDING = 1e-6
# Alternations between thresholds and other constants.
THRESHOLD_ROUNDS = 4

# --- form that is shown (``shown``)

# Largest median error of a clean form that is shown, relative to that of the refitted one.
AS_GOOD = 1.05
# Median errors below this, in typical accelerations, are rounding.
SHOWN_ROUNDING = 1e-6

# --- force confined to a region (``residual_region``)

# Residual, in typical accelerations, below which a law is exact, and above which another force acts on a body.
REGION_EXACT, REGION_AFFECTED = 1e-5, 1e-3
# Fewest affected bodies, and the largest share of all bodies that still counts as a region.
FEWEST_AFFECTED, LARGEST_REGION = 20, 0.3
# Largest angle (1 - |cosine|) between the residual and the direction of the force.
ANGLE = 1e-3
# Share of the affected bodies that may deviate: the force is small near an edge where it begins at zero.
DEVIATING = 0.1
# Relative distance beyond the last affected body within which the force may reach zero.
REACH = 0.1
# Largest share of the residual that a profile may leave, and the share of that which a longer profile may leave.
PROFILE_LEAVES, LONGER_PROFILE = 1e-2, 0.1
# Share of the affected bodies that may stay unexplained where the region was not fitted.
UNEXPLAINED = 2e-2
# Smallest relative error of a number in a region.
REGION_SHARPEST = 1e-6
# Condition number beyond which lines of force are parallel and have no common point.
WORST_CONDITION = 1e8

# --- law as a system, network with expressions (``potential``, ``mixed``)

# Relative difference below which numbers of different axes, and velocities, are equal.
ALIKE = 1e-5
# Change of messages, in typical ones, that equal numbers may cause: large numbers may cancel.
CHANGED = 1e-4
# Random states at which formulas are compared.
TRIALS = 256
# Snapshots for the regression of whole messages on their distilled components.
REGRESSION_SNAPSHOTS = 1000
