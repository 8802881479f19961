"""The result store: columns, writing, queries, tables."""
