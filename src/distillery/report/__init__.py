"""Pictures, tables and pages of results, from plain values that the workflow reads."""
