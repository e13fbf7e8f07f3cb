"""Libraries that may not be installed."""

from __future__ import annotations

from importlib.util import find_spec

NEEDS_PYARROW = "pip install 'paceline[arrow]' (in the image of the job, for a run on a cluster)"


def needs(package: str, needed_for: str, way_out: str) -> None:
    """The package is installed. It is not imported.

    Raises:
        ImportError: It is not; the message says for what it is needed and how to get it.
    """
    try:
        found = find_spec(package) is not None
    except ValueError:  # kept out of sys.modules on purpose
        found = False
    if not found:
        raise ImportError(f"{needed_for} needs {package}: {way_out}")
