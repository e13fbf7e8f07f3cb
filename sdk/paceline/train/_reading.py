"""Bringing a checkpoint's files here, checked against its commit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.agent import names
from paceline.agent.commits import Commit, read_commit
from paceline.storage import StorageError, StorageNotFoundError, checksum, retry, transfer
from paceline.train._copies import exclusive, shared_copy
from paceline.train._location import Location

PATIENCE_S = 120.0  # a person or a script waits: shorter than an agent, which holds what cannot be made again


def download(
    location: Location,
    target: Path,
    *,
    commit: Commit | None = None,
    skip: Callable[[str], bool] = lambda name: False,
    progress: transfer.Progress | None = None,
) -> None:
    """Bring every file of a checkpoint into `target`.

    Args:
        commit: None: it is read; a directory without one is taken as it is.
        skip: Whether a file need not be fetched.
        progress: Raised while bytes arrive.
    Raises:
        StorageNotFoundError: There is nothing, or a file of the commit is missing.
        StorageError: The store failed, or a file is damaged: the message names it.
    """
    found = commit or _commit(location)

    def wanted(name: str) -> bool:
        # A store that others write to could name files which land elsewhere on this machine.
        if name != c.COMMIT_FILE and (problem := names.file_problem(name)):
            raise StorageError(f"{location.uri} is not fetched: {problem}")
        return name != c.COMMIT_FILE and not skip(name)

    try:
        transfer.download_directory(
            location.storage,
            location.path,
            target,
            wanted=wanted,
            expected=found.lasting_files if found else None,
            patience_s=PATIENCE_S,
            progress=progress,
        )
    except StorageNotFoundError as e:
        raise StorageNotFoundError(f"no checkpoint at {location.uri}: {e}" if found is None else str(e)) from e


def copy_into(location: Location, target: Path) -> None:
    """Bring a checkpoint into a directory of the user's; of several processes that do so, one fetches at a time, and
    the others find the files of the first.

    Raises:
        StorageNotFoundError, StorageError: As `download`.
    """
    commit = _commit(location)
    with exclusive(str(target.absolute())):
        right = right_files(target, commit) if commit else frozenset()
        download(location, target, commit=commit, skip=lambda name: name in right)


def right_files(directory: Path, commit: Commit) -> frozenset[str]:
    """Which files of a commit lie in the directory already, with their sizes and sums."""
    return frozenset(name for name, about in commit.lasting_files.items() if _is_right(directory / name, about))


@contextlib.contextmanager
def shared_directory(location: Location) -> Iterator[Path]:
    """A copy that processes of this machine share while they use it."""
    commit = _commit(location)
    name = json.dumps([location.uri, _identity(location.given), commit.to_json() if commit else None])
    with shared_copy(name, lambda target: download(location, target, commit=commit)) as directory:
        yield directory


def _is_right(path: Path, about: Mapping[str, Any]) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != about.get("size"):
        return False
    return checksum.matches(path, about) is True


def _commit(location: Location) -> Commit | None:
    return retry.call(lambda: read_commit(location.storage, location.path), patience_s=PATIENCE_S)


def _identity(filesystem: Any) -> str:
    """Equal for equal filesystem objects of several processes; an object that cannot say so shares with nobody."""
    if filesystem is None:
        return ""
    try:
        return hashlib.sha256(pickle.dumps(filesystem)).hexdigest()
    except Exception:
        return uuid.uuid4().hex
