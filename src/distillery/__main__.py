"""``python -m distillery`` is the command ``distillery``."""

from distillery.cli import main

main()
