"""How a Python of ours is started. Standard library alone, since whoever starts one needs nothing else for it."""

from __future__ import annotations

import sys

# Modules are those of the path, not what lies in the working directory, copies of code among the artifacts. Where
# Python is too old for the flag, the worker itself sees to it.
SAFE_PATH = ["-P"] if sys.version_info >= (3, 11) else []
