"""Verifying: whether an expression is the system's law, decided by the program."""
