"""Filesystem objects of pyarrow.

`pyarrow.fs.copy_files` can return without an error and without the file, and a stream that is dropped publishes what it
holds. So: streams alone, closed before anything counts, and the size of what arrived is read back each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from paceline.storage import retry
from paceline.storage._errors import StorageError, WaysOut
from paceline.storage._tree import TreeStorage, chunks, in_parallel

_CHUNK = 8 * 1024 * 1024
_REPLACED_PATIENCE_S = 5.0
_DELETES_AT_ONCE = 16
# A stream becomes an object when it is closed, and a move is a copy.
_WHOLE = {"s3", "gcs", "abfs"}
_WAYS = WaysOut(
    credentials="give the filesystem object the right keys, or let its client find them in the environment",
)


class ArrowStorage(TreeStorage):
    """A path is what the filesystem takes."""

    def __init__(self, filesystem: Any) -> None:
        super().__init__(ArrowTree(filesystem))


class ArrowTree:
    """pyarrow has no exclusive create, so none is claimed."""

    exclusive = False
    ways = _WAYS

    def __init__(self, filesystem: Any) -> None:
        self.filesystem = filesystem
        kind = filesystem
        while kind.type_name == "subtree":
            kind = kind.base_fs
        self.scheme: str = kind.type_name.removeprefix("py::")
        self.renames = kind.type_name not in _WHOLE

    def uri(self, path: str) -> str:
        """The path: the object alone knows the rest."""
        return path

    def prepare(self, path: str) -> None:
        """The directory; of an object store the bucket, where the object may create it."""
        if self.renames:
            self.make_directory(path)
        elif getattr(self.filesystem, "allow_bucket_creation", False):
            self.filesystem.create_dir(path.partition("/")[0], recursive=False)

    def make_directory(self, path: str) -> None:
        """With parents."""
        if self.renames and path:
            self.filesystem.create_dir(path, recursive=True)

    def put_bytes(self, path: str, data: bytes) -> None:
        """Create or replace."""
        self._put(path, iter([data]), len(data))

    def put_new(self, path: str, data: bytes) -> None:
        """The store has been looked at."""
        self.put_bytes(path, data)

    def put_file(self, local: str, path: str) -> None:
        """In pieces."""
        with Path(local).open("rb") as source:
            self._put(path, chunks(source, _CHUNK), Path(local).stat().st_size)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """A move, which replaces."""
        if not replace and self.size(target) is not None:
            raise FileExistsError(target)
        self.filesystem.move(source, target)

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """A part, in one request; again when the file was replaced between the look at its size and that."""

        def once() -> bytes:
            found = self._read(path, start, end)
            if found is None:
                raise StorageError(f"{path} is replaced again and again while it is read", retryable=True)
            return found

        return retry.call(once, patience_s=_REPLACED_PATIENCE_S)

    def get_file(self, path: str, local: str) -> None:
        """In pieces."""
        with self.filesystem.open_input_file(path) as source, Path(local).open("wb") as file:
            for chunk in chunks(source, _CHUNK):
                file.write(chunk)

    def size(self, path: str) -> int | None:
        """From its metadata."""
        from pyarrow.fs import FileType

        found = self.filesystem.get_file_info(path)
        return int(found.size) if found.type == FileType.File else None

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """A listing at any depth."""
        from pyarrow.fs import FileType

        for found in self._list(directory, recursive=True):
            if found.type == FileType.File:
                yield found.path, int(found.size)

    def directories(self, directory: str) -> list[str]:
        """Right below. Its Google client shows those with an object of their own alone: there the files tell."""
        from pyarrow.fs import FileType

        if self.scheme == "gcs":
            below = len(directory) + 1
            return list({path[below:].partition("/")[0] for path, _ in self.find(directory) if "/" in path[below:]})
        return [found.base_name for found in self._list(directory, recursive=False) if found.type == FileType.Directory]

    def remove(self, path: str) -> None:
        """One file."""
        self.filesystem.delete_file(path)

    def remove_tree(self, directory: str) -> bool:
        """One call; on object stores file by file, then the empty objects that it leaves for directories."""
        from pyarrow.fs import FileType

        if self.renames:
            self.filesystem.delete_dir(directory)
            return True
        found = self._list(directory, recursive=True)
        in_parallel(self.remove, [f.path for f in found if f.type == FileType.File], at_once=_DELETES_AT_ONCE)
        # All at once some servers refuse: a directory before its last file is "not empty".
        for empty in sorted((f.path for f in found if f.type == FileType.Directory), key=_depth, reverse=True):
            self._remove_empty(empty)
        if found:
            self._remove_empty(directory)
        return True

    def _remove_empty(self, directory: str) -> None:
        with suppress(OSError):  # FileNotFoundError, or Google's client with its own words for it
            self.filesystem.delete_dir(directory)

    def _read(self, path: str, start: int, end: int | None) -> bytes | None:
        try:
            with self.filesystem.open_input_file(path) as file:
                size = file.size()
                stop = size if end is None else min(end, size)
                found = bytes(file.read_at(stop - start, start)) if stop > start else b""
        except (ValueError, FileNotFoundError):
            # So it also says when the content that it has opened is gone, and a newer one is there.
            if self.size(path) is None:
                raise
            return None
        return found if end is not None or self.size(path) == size else None

    def _list(self, directory: str, *, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        return list(self.filesystem.get_file_info(FileSelector(directory, allow_not_found=True, recursive=recursive)))

    def _put(self, path: str, content: Iterator[bytes], size: int) -> None:
        stream = self.filesystem.open_output_stream(path, compression=None)
        try:
            for chunk in content:
                stream.write(chunk)
            stream.close()
        except BaseException:
            # It cannot be aborted: what it holds is published, and taken away again.
            with suppress(Exception):
                stream.close()
            with suppress(Exception):
                self.remove(path)
            raise
        if (stored := self.size(path)) != size:
            with suppress(Exception):
                self.remove(path)
            raise StorageError(f"{path} was stored with {stored} bytes instead of {size}", retryable=True)


def _depth(path: str) -> int:
    return path.count("/")
