"""The protocol of a store. Paths are `str`, relative names use `/`, and every call blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below a directory."""

    name: str  # relative to the directory that was listed
    size: int  # bytes


class Storage(Protocol):
    """A store that the agent writes to and reads from; safe to use from several threads.

    Every method raises `StorageError`; reading what is not there raises `StorageNotFoundError`. Writes are atomic: a
    reader sees the old content, the new content or nothing, never a part.
    """

    @property
    def scheme(self) -> str:
        """`file` or `s3`."""
        ...

    def uri(self, path: str) -> str:
        """The text that `resolve` turns into this store and `path` again."""
        ...

    def check(self, path: str) -> None:
        """Make the store ready for writes below `path`: bucket or directory there, credentials right."""
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
