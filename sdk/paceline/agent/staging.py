"""Files that processes have handed over: they lie in the agent's own directory until the store has them.

The SDK moves them there by hard links (or copies), so that a report with a large checkpoint takes milliseconds. A hard
link shares its content with the user's file: `changed` finds out when somebody wrote into it after the report.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Staged:
    """Files of one report of one rank."""

    directory: Path
    files: Mapping[str, tuple[int, int]]  # name -> bytes, modification time in ns

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> bytes."""
        return {name: size for name, (size, _) in self.files.items()}

    def changed(self, name: str) -> bool:
        """Whether the file is not what it was at the report."""
        return _mark(self.directory / name) != self.files[name]

    def remove(self) -> None:
        """Delete this rank's links; never raises."""
        shutil.rmtree(self.directory, ignore_errors=True)


def take(staging: Path, directory: str) -> Staged:
    """Take over what lies in `directory`, a name directly below `staging`.

    Raises:
        ValueError: It lies elsewhere, or is not there.
    """
    path = Path(directory)
    if path.parent != staging or not path.is_dir():
        raise ValueError(f"{directory} is not a directory in {staging}")
    files: dict[str, tuple[int, int]] = {}
    for root, _, names in os.walk(path):
        for name in names:
            file = Path(root) / name
            files[file.relative_to(path).as_posix()] = _mark(file)
    return Staged(path, files)


def _mark(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
