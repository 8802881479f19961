"""Print the address of PyTorch's CPU-only wheels if it answers, and nothing otherwise."""

import contextlib
import urllib.request

ADDRESS = "https://download.pytorch.org/whl/cpu"

with contextlib.suppress(OSError), urllib.request.urlopen(f"{ADDRESS}/torch/", timeout=5):
    print(ADDRESS)
