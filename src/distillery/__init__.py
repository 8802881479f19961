"""Distillery turns trajectories into laws, at sweep scale.

The package follows the way of the data, one folder or module per stage:
``simulate → train → interpret → distill → verify → collect → report``.
What a sweep is made of stands beside them: ``config`` (what the user asks for), ``cell``
(identity and paths), ``systems`` and ``models`` (tables of data), ``sweep`` (the plan).
"""

__version__ = "0.1.0"
