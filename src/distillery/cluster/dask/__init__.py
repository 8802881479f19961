"""Dask clusters that carry out fits."""
