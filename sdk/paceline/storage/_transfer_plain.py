"""One file by the store's own `put_file` and `get_file`: for stores of which only whole files can be asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paceline.storage import checksum
from paceline.storage._base import Storage
from paceline.storage._errors import StorageError
from paceline.storage._transfer_workers import Rules

_FETCHES = 3  # of a file that arrives damaged


class PlainUpload:
    """A task; `about` is there once it is done."""

    def __init__(self, storage: Storage, local: Path, path: str, size: int, rules: Rules) -> None:
        self._storage = storage
        self._local = local
        self._path = path
        self._size = size
        self._rules = rules
        self.about: dict[str, Any] = {}

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One."""
        return [self._put]

    def abort(self) -> None:
        """Nothing: a store's writes are atomic."""

    def _put(self) -> None:
        sums = checksum.of_file(self._local)
        self._rules.again(lambda: self._storage.put_file(str(self._local), self._path))
        there = self._rules.again(lambda: self._storage.size(self._path))
        if there != self._size:
            raise StorageError(
                f"{self._storage.uri(self._path)} has {'no' if there is None else there} bytes after {self._size} were"
                " stored: another writer, or a fault of the store",
                retryable=True,
            )
        self.about = {"size": self._size, **sums}
        self._rules.progress.moved(self._size)
        self._rules.progress.finished()


class PlainDownload:
    """A task."""

    def __init__(
        self, storage: Storage, path: str, target: Path, size: int | None, expected: Mapping[str, Any], rules: Rules
    ) -> None:
        self._storage = storage
        self._path = path
        self._target = target
        self._size = size
        self._expected = expected
        self._rules = rules

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One."""
        return [self._get]

    def abort(self) -> None:
        """Nothing: a file appears under its name when it is whole."""

    def _get(self) -> None:
        damage = ""
        for _ in range(_FETCHES):
            self._rules.again(lambda: self._storage.get_file(self._path, str(self._target)))
            damage = self._damage()
            if not damage:
                self._rules.progress.moved(os.path.getsize(self._target))  # noqa: PTH202
                self._rules.progress.finished()
                return
            self._target.unlink(missing_ok=True)
            self._rules.progress.retried()
        raise StorageError(f"{self._storage.uri(self._path)} {damage}")

    def _damage(self) -> str:
        there = self._target.stat().st_size
        if self._size is not None and there != self._size:
            return f"came with {there} bytes instead of {self._size}"
        sums = {kind: value for kind, value in self._expected.items() if kind.startswith("crc")}
        if sums and checksum.matches(self._target, sums) is False:
            return f"came with another checksum than {sums}"
        return ""
