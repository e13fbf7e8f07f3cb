"""Remote checkpoints that processes of this pod read: one download each, removed after its last user."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from paceline import _contract as c
from paceline.agent.commits import read_commit
from paceline.agent.stores import Stores
from paceline.storage import StorageNotFoundError
from paceline.storage.transfer import download_directory


@dataclass(slots=True)
class _Copy:
    path: Path
    download: asyncio.Task[None]
    users: int = 0


class SharedCopies:
    """Below `directory`. Used from the event loop only."""

    def __init__(self, directory: Path, stores: Stores) -> None:
        self._directory = directory
        self._stores = stores
        self._copies: dict[str, _Copy] = {}

    async def acquire(self, uri: str) -> Path:
        """The local copy of a remote directory; every call needs one `release`, also after an error.

        Raises:
            StorageError: The store failed, or nothing lies there.
        """
        copy = self._copies.get(uri)
        if copy is None:
            path = self._directory / uuid.uuid4().hex
            copy = _Copy(path, asyncio.create_task(asyncio.to_thread(self._download, uri, path)))
            self._copies[uri] = copy
        copy.users += 1
        await asyncio.shield(copy.download)
        return copy.path

    def release(self, uri: str) -> None:
        """One user less; the last one removes the copy."""
        copy = self._copies.get(uri)
        if copy is None:
            return
        copy.users -= 1
        if copy.users <= 0:
            del self._copies[uri]
            if copy.download.done():
                # A few system calls for each file: not worth a thread that nobody waits for.
                shutil.rmtree(copy.path, ignore_errors=True)
            else:
                copy.download.add_done_callback(lambda _: shutil.rmtree(copy.path, ignore_errors=True))

    def _download(self, uri: str, path: Path) -> None:
        storage, directory = self._stores.resolve(uri)
        commit = read_commit(storage, directory)
        try:
            download_directory(
                storage,
                directory,
                path,
                wanted=lambda name: name != c.COMMIT_FILE,
                # Of a directory that Paceline did not write there is nothing to compare with.
                expected=commit.lasting_files if commit else None,
            )
        except StorageNotFoundError as e:
            raise StorageNotFoundError(f"no checkpoint at {uri}: {e}") from e
