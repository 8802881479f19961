"""Tests of laws: against a known law, against data, under other conditions and over long times."""
