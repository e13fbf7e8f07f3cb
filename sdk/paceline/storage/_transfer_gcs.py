"""One file to or from Google Cloud Storage, by requests of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paceline.storage import checksum
from paceline.storage._gcs_objects import GcsObjects
from paceline.storage._http import summed
from paceline.storage._transfer_ranges import Version
from paceline.storage._transfer_workers import Rules

_MIB = 1024 * 1024
# A larger file goes up in chunks that are repeated alone: one request that breaks near its end costs all of it.
WHOLE_BYTES = 64 * _MIB


class GcsUpload:
    """A task: one request for the whole file; `about` is there once it is done."""

    def __init__(self, objects: GcsObjects, path: str, local: Path, size: int, rules: Rules) -> None:
        self._objects = objects
        self._path = path
        self._local = local
        self._size = size
        self._rules = rules
        self.about: dict[str, Any] = {}

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One."""
        return [self._put]

    def abort(self) -> None:
        """Nothing: an object appears as a whole or not at all."""

    def _put(self) -> None:
        kind = self._objects.kind
        with self._local.open("rb", buffering=0) as file:
            body = summed(file, 0, self._size, of=self._size, kind=kind)
            self._rules.again(lambda: self._objects.put(self._path, body))
        self.about = {"size": self._size, kind.name: checksum.text(body.sum)}
        self._rules.progress.moved(self._size)
        self._rules.progress.finished()


class GcsSource:
    """An object: pieces go to the sink as they come."""

    range_bytes = 16 * _MIB

    def __init__(self, objects: GcsObjects, path: str) -> None:
        self._objects = objects
        self._path = path

    def read(self, offset: int, length: int, whole: bool, sink: Callable[[bytes], None]) -> Version:
        """One GET."""
        stored = self._objects.get(self._path, offset, None if whole else length, sink)
        # The sum is that of the whole object, whatever range was asked for.
        sums = {} if stored.sum is None else {self._objects.kind.name: checksum.text(stored.sum)}
        return Version(stored.generation, sums)
