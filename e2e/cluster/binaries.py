"""Programs by name, for tests and tools beside a bed."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster import build
from e2e.cluster.components import ALL


def binary(name: str) -> Path:
    """Path of a program such as `helm`, `kubectl` or `ctr`; it is built first where it is missing.

    `kubectl` is the machine's own where there is one.

    Raises:
        KeyError: No component of the test bed brings this program.
    """
    if name == "kubectl":
        found = Path(build.kubectl())
        if found.exists():
            return found
    component = next((component for component in ALL if name in component.programs), None)
    if component is None:
        raise KeyError(f"no component of the test bed brings {name!r}")
    return build.ensure(component) / name
