"""The protocol of a store. Paths are `str`, relative names use `/`, and every call blocks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from paceline.storage._errors import StorageError

# Files being written carry this prefix where a store has no atomic write; nothing that lists a directory shows them.
PARTIAL_PREFIX = ".paceline-partial-"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below a directory."""

    name: str  # relative to the directory that was listed
    size: int  # bytes


class Storage(Protocol):
    """A store that the agent writes to and reads from; safe to use from several threads, and after a fork.

    Every method raises `StorageError`; reading what is not there raises `StorageNotFoundError`. Writes are atomic: a
    reader sees the old content, the new content or nothing, never a part.
    """

    @property
    def scheme(self) -> str:
        """`file`, `s3`, `gs`, `hdfs`, `webhdfs`, or the name that fsspec or pyarrow gives the store."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether `create_if_absent` holds against writers on other machines."""
        ...

    def uri(self, path: str) -> str:
        """The text that `resolve` turns into this store and `path` again.

        The bare path where the store was given as a filesystem object, since no URI says how to make that one.
        """
        ...

    def check(self, path: str) -> None:
        """Make the store ready for writes below `path`, and prove it: write, read and delete a small file there."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Create or replace."""
        ...

    def create_if_absent(self, path: str, data: bytes) -> bool:
        """Create `path` unless it exists; of several callers exactly one gets True.

        True also when it exists with exactly this content: a repeated call whose first answer was lost has won.
        """
        ...

    def put_file(self, local: str, path: str) -> None:
        """Upload one local file."""
        ...

    def get_file(self, path: str, local: str) -> None:
        """Download one file; the directory of `local` exists."""
        ...

    def files(self, directory: str) -> Iterator[Entry]:
        """Every file below `directory`, at any depth. Nothing there: nothing is given."""
        ...

    def directories(self, directory: str) -> list[str]:
        """Names of the directories right below, sorted."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes of a file, or None when it is not there."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is fine."""
        ...

    def delete_directory(self, directory: str) -> None:
        """Delete every file below, and the directory where the store knows directories."""
        ...


@runtime_checkable
class RangeReader(Protocol):
    """A store that gives a part of a file, so that a large one can be fetched by several threads."""

    def get_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer at the end of the file."""
        ...


def probe(storage: Storage, path: str) -> None:
    """Write, read and delete a small file below `path`: what `Storage.check` promises."""
    target = f"{path.rstrip('/')}/{PARTIAL_PREFIX}probe-{uuid.uuid4().hex}"
    content = uuid.uuid4().hex.encode()
    storage.write(target, content)
    if storage.read(target) != content:
        raise StorageError(
            f"{storage.uri(target)} did not come back as it was written: another process writes there, or a cache"
            " lies between; use a storage path that shows a write at once"
        )
    storage.delete(target)
