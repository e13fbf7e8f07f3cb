"""Files of a checkpoint go to the agent: by hard link where that is safe, else by copy.

A hard link costs nothing but shares its content with the original: if that is written again before it is stored, the
checkpoint would be torn. In a temporary directory nobody does so; elsewhere a directory may well be used again and
again, so there the files are copied (by the kernel, which shares blocks where the file system can).
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from paceline import _contract as c

if TYPE_CHECKING:
    from paceline.train._checkpoint import Checkpoint

_numbers = itertools.count()
_used: set[tuple[str, int]] = set()  # directories (path, inode) that were reported before


def local_directory(checkpoint: Checkpoint) -> Path:
    """The checkpoint's directory.

    Raises:
        TypeError: It is not a Checkpoint.
        ValueError: It is remote, or not there.
    """
    from paceline.train._checkpoint import Checkpoint

    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(
            f"checkpoint is a {type(checkpoint).__name__}: pass Checkpoint.from_directory(<local directory>)"
        )
    path = checkpoint._local_path()
    if path is None:
        raise ValueError(f"{checkpoint.path} is stored already: report a local directory")
    if not path.is_dir():
        raise ValueError(f"the checkpoint directory {path} does not exist, or is not a directory")
    return path


def stage(source: Path) -> Path:
    """Link or copy every file below `source` into a new directory of the agent, and return that.

    Raises:
        ValueError: Something below is neither a file nor a directory.
        OSError: A file cannot be read, or the disk is full.
    """
    target = Path(os.environ[c.STAGING]) / f"rank{os.environ.get(c.RANK, '0')}-{os.getpid()}-{next(_numbers)}"
    target.mkdir(parents=True)
    try:
        link = _may_link(source)
        _stage(source, target, link=link, above=())
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _may_link(source: Path) -> bool:
    real = source.resolve()
    # The name too: file systems give a deleted directory's inode to the next one.
    identity = str(real), source.stat().st_ino
    again = identity in _used
    _used.add(identity)
    temporary = {Path(p).resolve() for p in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")}
    return not again and any(parent in temporary for parent in real.parents)


def _stage(source: Path, target: Path, *, link: bool, above: tuple[Path, ...]) -> None:
    real = source.resolve()
    if real in above:
        raise ValueError(f"{source} is a link to a directory that contains it")
    for entry in os.scandir(source):
        into = target / entry.name
        if entry.is_dir():
            into.mkdir()
            _stage(Path(entry.path), into, link=link, above=(*above, real))
        elif stat.S_ISREG(entry.stat().st_mode):
            # The commit of an earlier checkpoint, when a downloaded one is reported again.
            if above or entry.name != c.COMMIT_FILE:
                _stage_file(os.path.realpath(entry.path), into, link=link)
        else:
            raise ValueError(f"{entry.path} is neither a file nor a directory: it cannot be part of a checkpoint")


def _stage_file(source: str, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or none that links
            pass
        else:
            return
    shutil.copyfile(source, target)
