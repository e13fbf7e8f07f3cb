"""One local file to S3: in one request, or in parts of which each is repeated alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from paceline.storage import checksum
from paceline.storage._errors import StorageError
from paceline.storage._http import Body, summed
from paceline.storage._s3_errors import NoSuchUploadError
from paceline.storage._s3_objects import Multipart, Objects, Part
from paceline.storage._transfer_workers import Rules, quietly

_MIB = 1024 * 1024
PART_BYTES = 16 * _MIB
_PARTS_AT_MOST = 10_000  # of S3


class S3Upload:
    """A task; `about` is there once it is done."""

    def __init__(self, objects: Objects, key: str, uri: str, local: Path, size: int, rules: Rules) -> None:
        self._objects = objects
        self._key = key
        self._uri = uri
        self._local = local
        self._size = size
        self._rules = rules
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._upload: Multipart | None = None
        self._refused: StorageError | None = None
        self._parts: dict[int, Part] = {}
        self._part_bytes = part_bytes(size)
        self.about: dict[str, Any] = {}
        # The store has forgotten the parts: everything has to be sent again.
        self.lost = False

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One, or one for each part."""
        if self._size <= self._part_bytes:
            return [self._whole]
        return (partial(self._part, number) for number in range(1, self._count() + 1))

    def abort(self) -> None:
        """Forget the parts that the store has."""
        self._close()
        if self._upload is not None and not self.about:
            upload = self._upload
            quietly(lambda: self._objects.abort(upload))

    def _whole(self) -> None:
        with self._local.open("rb", buffering=0) as file:
            body = self._body(file, 0, self._size)
            confirmed = self._rules.again(lambda: self._objects.put(self._key, body))
        self._rules.progress.moved(self._size)
        self._finish(body.sum, confirmed)

    def _part(self, number: int) -> None:
        if self.lost:
            return
        try:
            upload, file = self._begun()
            offset = (number - 1) * self._part_bytes
            body = self._body(file, offset, min(self._part_bytes, self._size - offset))
            part = self._rules.again(lambda: self._objects.put_part(upload, number, body))
            with self._lock:
                self._parts[number] = part
                last = len(self._parts) == self._count()
            self._rules.progress.moved(part.length)
            if last:
                parts = [self._parts[i] for i in sorted(self._parts)]
                confirmed = self._rules.again(lambda: self._objects.complete(upload, parts))
                self._close()
                self._finish(self._objects.kind.join((part.sum, part.length) for part in parts), confirmed)
        except NoSuchUploadError:
            self.lost = True

    def forget(self) -> S3Upload:
        """The same file from its beginning."""
        self.abort()
        self._rules.progress.moved(-sum(part.length for part in self._parts.values()))
        return S3Upload(self._objects, self._key, self._uri, self._local, self._size, self._rules)

    def _begun(self) -> tuple[Multipart, BinaryIO]:
        with self._lock:
            if self._file is None:
                self._file = self._local.open("rb", buffering=0)
            if self._refused is not None:
                raise self._refused
            if self._upload is None:
                try:
                    self._upload = self._rules.again(lambda: self._objects.begin(self._key))
                except StorageError as e:
                    # The other parts have been waiting for the lock: they shall not ask again.
                    self._refused = e
                    raise
            return self._upload, self._file

    def _body(self, file: BinaryIO, offset: int, length: int) -> Body:
        return summed(file, offset, length, of=self._size, kind=self._objects.kind)

    def _finish(self, value: int, confirmed: bool) -> None:
        if not confirmed:
            there = self._rules.again(lambda: self._objects.head(self._key))
            if there.size != self._size or there.sum not in (None, value):
                raise StorageError(
                    f"{self._uri} is not what was stored: {there.size} bytes instead of {self._size}, or another"
                    " checksum; another writer, or a fault of the store",
                    retryable=True,
                )
        self.about = {"size": self._size, self._objects.kind.name: checksum.text(value)}
        self._rules.progress.finished()

    def _count(self) -> int:
        return -(-self._size // self._part_bytes)

    def _close(self) -> None:
        if self._file is not None:
            with closing(self._file):
                self._file = None


def part_bytes(size: int) -> int:
    """Bytes of each part but the last; more than usual only where there would be too many."""
    return max(PART_BYTES, -(-size // _PARTS_AT_MOST // _MIB) * _MIB)
