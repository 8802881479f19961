"""Systems and their formulas: potentials, forces, singularities."""
