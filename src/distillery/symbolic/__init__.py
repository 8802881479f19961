"""Symbolic regression: engines, Pareto fronts, complexity, tidying of expressions."""
