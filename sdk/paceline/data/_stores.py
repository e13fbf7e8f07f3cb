"""The stores that the paths of a dataset lie in: one client for all paths that differ by their path alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.storage import Storage


class Stores:
    """Opens each store once. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._storages: dict[str, Storage] = {}
        self._filesystems: dict[str, Any] = {}

    def storage(self, path: str) -> tuple[Storage, str]:
        """The store of a path or URI, and the path in it. Nothing is asked of it.

        Raises:
            paceline.storage.StorageError: The URI is not understood.
        """
        from paceline.storage import resolve

        storage, inside = resolve(path)
        with self._lock:
            return self._storages.setdefault(_root(path), storage), inside

    def filesystem(self, path: str) -> Any:
        """The store of a path or URI as pyarrow sees it.

        Raises:
            paceline.storage.StorageError: The URI is not understood.
        """
        from paceline.storage import to_arrow

        storage, inside = self.storage(path)
        with self._lock:
            if (root := _root(path)) not in self._filesystems:
                self._filesystems[root] = to_arrow(storage, inside)[0]
            return self._filesystems[root]


def _root(path: str) -> str:
    """Scheme, host or bucket, and options."""
    if "://" not in path:
        return ""
    location, mark, query = path.partition("?")
    return "/".join(location.split("/", 3)[:3]) + mark + query
