"""Stages of the workflow: each reads its inputs, calls the library and writes its outcome."""
