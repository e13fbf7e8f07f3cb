"""A directory somewhere: its store, its path there without a scheme, and the text that names both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.storage import Storage


class Location:
    """Where a checkpoint or a run lies. Nothing is asked of the store, and no client library is imported, to make one.

    Attributes:
        path: Without a scheme: an absolute path of this machine, `bucket/key`, or a path in the given filesystem.
        given: The filesystem object that it was made with, or None.
        is_local: The files are on this machine, or on a volume that it mounts.
    """

    __slots__ = ("_arrow", "_storage", "given", "is_local", "path")

    def __init__(self, path: str | os.PathLike[str], filesystem: Any = None) -> None:
        """Read a path or a URI.

        Raises:
            ValueError: A filesystem is given and the path has a scheme; or the path is empty.
            paceline.storage.StorageError: The URI's scheme or query is not known.
        """
        text = os.fspath(path)
        self.given = filesystem
        self._arrow: Any = None
        self._storage: Storage | None = None
        if filesystem is not None and "://" in text:
            # Not the whole path: somebody may have put a key into it.
            raise ValueError(
                f"the path has a scheme, but a filesystem is given too: write it without {text.partition('://')[0]}://,"
                " or leave the filesystem out"
            )
        if filesystem is None and "://" not in text:
            if not text.strip():
                raise ValueError("the path is empty")
            self.path = str(Path(text).expanduser().absolute())
            self.is_local = True
            return
        from paceline.storage import resolve

        self._storage, self.path = resolve(text, filesystem)
        self.is_local = self._storage.scheme == "file"

    @property
    def storage(self) -> Storage:
        """The store that holds it."""
        if self._storage is None:
            from paceline.storage import resolve

            self._storage = resolve(self.path)[0]
        return self._storage

    @property
    def uri(self) -> str:
        """Names store and path; of a local directory its path. With a filesystem object: for people alone."""
        return self.path if self.is_local else self.storage.uri(self.path)

    @property
    def arrow(self) -> Any:
        """The store as a `pyarrow.fs.FileSystem`: the given one, or one made now.

        Raises:
            ImportError: pyarrow is not installed; the message names the extra.
        """
        if self._arrow is None:
            self._arrow = self._make_arrow()
        return self._arrow

    def below(self, *names: str) -> Location:
        """A directory below this one, in the same store."""
        found = Location.__new__(Location)
        found.path = "/".join([self.path.rstrip("/"), *names])
        found.given, found.is_local = self.given, self.is_local
        found._storage, found._arrow = self._storage, self._arrow
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Location) or self.path != other.path:
            return False
        if self.is_local and other.is_local:
            return True
        if self.given is None and other.given is None:
            return self.uri == other.uri
        return bool(self.given == other.given)

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.given is not None and not self.is_local:
            return Location, (self.path, self.given)
        return Location, (self.uri,)

    def _make_arrow(self) -> Any:
        try:
            import pyarrow  # noqa: F401
        except ImportError as e:
            raise ImportError(
                f"the filesystem of {self.uri} is one of pyarrow: pip install 'paceline[arrow]', or use uri"
            ) from e
        from paceline.storage import to_arrow

        return to_arrow(self.storage, self.path)[0]
