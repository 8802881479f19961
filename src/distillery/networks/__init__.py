"""Graph networks that learn accelerations, several of equal shape at a time."""
