"""HDFS by its own protocol: PyPI's hdfs-native, which needs neither Java nor Hadoop's libraries.

Its client is used directly: its fsspec face takes `?`, `#` and `;` in a file's name for parts of a URL and cuts them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from paceline.storage._errors import StorageError, missing_package
from paceline.storage._hdfs_forks import keep
from paceline.storage._hdfs_tree import NameNodeTree
from paceline.storage._process import PerProcess
from paceline.storage._tree import TreeStorage, chunks

_CHUNK = 4 * 1024 * 1024
# Its own patience with an address that refuses is three minutes; whoever calls us has a patience and a log.
_FEW_TRIES = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "300",
    "dfs.client.failover.sleep.max.millis": "2000",
}
_first_process: int | None = None


class HdfsStorage(TreeStorage):
    """A path is absolute, as in HDFS."""

    def __init__(self, address: str, user: str = "", filesystem: Any = None) -> None:
        super().__init__(HdfsTree(address, user, filesystem))


class HdfsTree(NameNodeTree):
    """By the name node's own calls."""

    scheme = "hdfs"

    def __init__(self, address: str, user: str = "", given: Any = None) -> None:
        super().__init__(address, user, given)
        # The object that was given is of the process that gave it; its configuration makes another elsewhere.
        pid = os.getpid()
        if given is not None:
            keep(given.client)
        self._made = PerProcess(
            lambda: (
                given.client
                if given is not None and os.getpid() == pid
                else _make(address, user, dict(given.storage_options) if given is not None else None)
            )
        )

    @property
    def client(self) -> Any:
        """The `hdfs_native.Client` of this process."""
        return self._made.get()

    def make_directory(self, path: str) -> None:
        """With parents; there already is fine."""
        self.client.mkdirs(path or "/", 0o755, True)

    def put_bytes(self, path: str, data: bytes) -> None:
        """Create or replace."""
        with self._created(path) as file:
            file.write(data)

    def put_file(self, local: str, path: str) -> None:
        """In pieces."""
        with Path(local).open("rb") as source, self._created(path) as file:
            for chunk in chunks(source, _CHUNK):
                file.write(chunk)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """One call of the name node."""
        try:
            self.client.rename(source, target, replace)
        except FileExistsError:
            raise
        except Exception as e:
            # hdfs-native has no class for what the name node says here.
            if not replace and "FileAlreadyExistsException" in str(e):
                raise FileExistsError(target) from e
            raise

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """From the data nodes."""
        file = self.client.read(path)
        stop = len(file) if end is None else min(end, len(file))
        return bytes(file.read_range(start, stop - start)) if stop > start else b""

    def get_file(self, path: str, local: str) -> None:
        """As a stream."""
        source = self.client.read(path)
        with Path(local).open("wb") as file:
            if len(source):
                for chunk in source.read_range_stream(0, len(source)):
                    file.write(chunk)

    def size(self, path: str) -> int | None:
        """From the name node."""
        try:
            found = self.client.get_file_info(path)
        except FileNotFoundError:
            return None
        return None if found.isdir else int(found.length)

    def remove(self, path: str) -> None:
        """One file."""
        self.client.delete(path, False)

    def remove_tree(self, directory: str) -> bool:
        """One call."""
        self.client.delete(directory, True)
        return True

    def arrow(self) -> Any:
        """An fsspec filesystem, for pyarrow."""
        if self._given is not None:
            return self._given
        from hdfs_native.fsspec import HdfsFileSystem

        host, _, port = self.address.partition(":")
        _ = self.client  # the user
        filesystem = HdfsFileSystem(host=host or None, port=int(port) if port else None)
        keep(filesystem.client)
        return filesystem

    def _created(self, path: str) -> Any:
        from hdfs_native import WriteOptions

        return self.client.create(path, WriteOptions(overwrite=True, create_parent=True))

    def _list(self, directory: str) -> list[tuple[str, bool, int]]:
        return [(e.path, bool(e.isdir), int(e.length)) for e in self.client.list_status(directory or "/", False)]


def _make(address: str, user: str, config: dict[str, Any] | None) -> Any:
    try:
        from hdfs_native import Client
    except ImportError as e:
        raise missing_package("hdfs://", "hdfs-native", "hdfs") from e
    global _first_process
    if _first_process not in (None, os.getpid()):
        # Its threads stayed in the parent; a call would wait for them for ever.
        raise StorageError(
            "hdfs:// storage was used before this process was forked, and its client does not survive that: start the"
            ' process by spawn (multiprocessing.get_context("spawn")), or write webhdfs://'
        )
    _first_process = os.getpid()
    if user:
        # It reads the name here alone, whenever it connects again.
        already = os.environ.setdefault("HADOOP_USER_NAME", user)
        if already != user:
            raise StorageError(
                f"a process is one user to HDFS, and this one is {already!r} (HADOOP_USER_NAME), not ?user={user}:"
                " let both name the same"
            )
    # Without an address: fs.defaultFS of core-site.xml.
    return keep(Client(f"hdfs://{address}" if address else None, {**_FEW_TRIES, **(config or {})}))
