"""Stage two: graph networks learn accelerations from trajectories, several cells of equal shape at a time."""
