"""Collecting: from the outcomes of all cells to one store, and the ways to ask it."""
