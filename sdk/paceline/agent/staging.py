"""Files that processes have handed over: they lie in the agent's own directory until the store has them.

The SDK moves them there by hard links (or copies), so that a report with a large checkpoint takes milliseconds. A hard
link shares its content with the user's file: `changed` finds out when somebody wrote into it after the report.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paceline.agent import names


@dataclass(frozen=True, slots=True)
class Staged:
    """Files of one report of one rank; or where the user's own function has stored them."""

    directory: Path | None
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> bytes, modification time in ns
    name: str = ""  # directory of the checkpoint that the rank asked for
    external: str = ""  # URI

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> bytes."""
        return {name: size for name, (size, _) in self.files.items()}

    def path(self, name: str) -> Path:
        """Where a file lies."""
        assert self.directory is not None
        return self.directory / name

    def changed(self, name: str) -> bool:
        """Whether the file is not what it was at the report."""
        return _mark(self.path(name)) != self.files[name]

    def remove(self) -> None:
        """Delete this rank's links; never raises."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def take(staging: Path, directory: str, *, name: str = "") -> Staged:
    """Take over what lies in `directory`, a name directly below `staging`.

    Args:
        name: The directory that the checkpoint shall have in the run directory.
    Raises:
        ValueError: It lies elsewhere, is not there, or holds what is no plain file below it.
    """
    path = Path(directory)
    if path.parent != staging or path.name == ".." or path.is_symlink() or not path.is_dir():
        raise ValueError(f"{directory} is not a directory in {staging}")
    files: dict[str, tuple[int, int]] = {}
    for root, directories, found in os.walk(path):
        for entry in (*directories, *found):
            if (Path(root) / entry).is_symlink():
                raise ValueError(f"{Path(root) / entry} is a link: hand over files")
        for entry in found:
            file = Path(root) / entry
            relative = file.relative_to(path).as_posix()
            if problem := names.file_problem(relative):
                raise ValueError(problem)
            files[relative] = _mark(file)
    return Staged(path, files, name)


def remove(given: Iterable[Staged]) -> None:
    """Delete the links of all of these; blocks, never raises."""
    for staged in given:
        staged.remove()


def _mark(file: Path) -> tuple[int, int]:
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{file} is not a file")
    return found.st_size, found.st_mtime_ns
