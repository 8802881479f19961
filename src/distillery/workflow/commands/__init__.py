"""The commands of ``distillery``, by subject.

Stages are imported when they are called: a query of the store does not wait for PyTorch.
"""
