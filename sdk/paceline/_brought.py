"""What the agent brings into any image, botocore and cloudpickle among it, behind the image's own packages.

`vendor` is pure Python. `native` has compiled wheels, a directory for each Python, named as that Python names its
extensions (`cpython-313-x86_64-linux-gnu`): what this one could not load is not even looked at.
"""

from __future__ import annotations

import sys


def reach() -> None:
    """Let this process import it. Nothing happens outside of a pod."""
    from importlib.machinery import EXTENSION_SUFFIXES
    from pathlib import Path

    import paceline

    brought = Path(paceline.__file__).resolve().parent.parent.parent
    for directory in (brought / "vendor", brought / "native" / EXTENSION_SUFFIXES[0].split(".")[1]):
        if directory.is_dir() and str(directory) not in sys.path:
            sys.path.append(str(directory))
