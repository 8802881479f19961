"""``python -m distillery`` is the command ``distillery``."""

import os
import sys

# Python puts the working directory first on the path for -m; a random.py there is none of ours.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]

from distillery.workflow.cli import main

main()
