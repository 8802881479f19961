"""Pictures of what was found, each from data that a function of its own returns."""
