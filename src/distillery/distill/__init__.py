"""Distilling: symbolic expressions for message components, each fit in a process of its own."""
