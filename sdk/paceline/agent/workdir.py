"""Directories of a pod. Where do the processes start? In the image's, or in one of links to its entries.

A run that a trainer on this machine starts has a directory of its own for them.
"""

from __future__ import annotations

import os
from pathlib import Path

from paceline.agent import log
from paceline.agent.config import AgentConfig


def of(config: AgentConfig, *, artifacts: bool) -> Path:
    """Where the processes of this pod run.

    Args:
        artifacts: What they write there is stored, and must be told from what they found.
    Raises:
        OSError: There is no writable directory.
    """
    if config.own_work_directory is not None:
        config.own_work_directory.mkdir(parents=True, exist_ok=True)
        return config.own_work_directory
    make = linked if artifacts else writable
    return make(Path.cwd(), config.work_directory)


def writable(image: Path, substitute: Path) -> Path:
    """`image` if this uid may write there, else `substitute` with a link to every entry of `image`.

    So a script that writes beside itself runs also as a user whom the image does not know.

    Raises:
        OSError: `substitute` cannot be made.
    """
    return image if os.access(image, os.W_OK | os.X_OK) else linked(image, substitute)


def linked(image: Path, substitute: Path) -> Path:
    """`substitute`, with a link to every entry of `image`: what is no link there was made by the processes.

    Raises:
        OSError: `substitute` cannot be made.
    """
    substitute.mkdir(parents=True, exist_ok=True)
    try:
        entries = list(image.iterdir())
    except OSError:  # not even readable: start in an empty directory
        return substitute
    for entry in entries:
        link = substitute / entry.name
        # The substitute may lie in the image's own directory, as it does in local runs.
        if not link.is_symlink() and not link.exists() and entry not in (substitute, *substitute.parents):
            link.symlink_to(entry)
    return substitute


def make(path: Path) -> None:
    """Make a directory where that can be done; where it cannot, the log says so."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        log.say(f"cannot make {path}: {e.strerror}")
