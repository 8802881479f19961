"""The workflow: configuration, identity of cells, keys, locks, stages, command line."""
