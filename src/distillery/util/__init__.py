"""Small tools without knowledge of physics or of the workflow."""
