"""One file to this machine in ranges: each is repeated alone, from the byte at which it broke."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from paceline.storage import checksum
from paceline.storage._base import RangeReader
from paceline.storage._errors import StorageError
from paceline.storage._local_files import write_all
from paceline.storage._s3_objects import Objects
from paceline.storage._transfer_workers import Rules

_MIB = 1024 * 1024
RANGE_BYTES = 4 * _MIB  # of stores that give a range at once
_FETCHES = 3  # of a file that arrives damaged


@dataclass(frozen=True, slots=True)
class Version:
    """Which content a range came from, and the sum of the whole of it where the store tells it."""

    tag: str = ""
    sums: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """A file in a store, of known size."""

    @property
    def range_bytes(self) -> int:
        """Size of a range."""
        ...

    def read(self, offset: int, length: int, whole: bool, sink: Callable[[bytes], None]) -> Version:
        """Give the bytes to `sink`; what came before a failure stays valid.

        Args:
            whole: They are the whole file.
        """
        ...


class S3Source:
    """An object of S3: pieces go to the sink as they come."""

    range_bytes = 16 * _MIB

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._key = key

    def read(self, offset: int, length: int, whole: bool, sink: Callable[[bytes], None]) -> Version:
        """One GET; without a range where that is not needed, since then the store tells its checksum too."""
        stored = self._objects.get(self._key, offset, None if whole else length, sink)
        sums = {} if stored.sum is None else {self._objects.kind.name: checksum.text(stored.sum)}
        return Version(stored.etag, sums)


class RangeReaderSource:
    """A file of any store that reads ranges; a range is in memory as a whole, so they are small."""

    range_bytes = RANGE_BYTES

    def __init__(self, reader: RangeReader, path: str) -> None:
        self._reader = reader
        self._path = path

    def read(self, offset: int, length: int, whole: bool, sink: Callable[[bytes], None]) -> Version:
        """One call."""
        sink(self._reader.get_range(self._path, offset, length))
        return Version()


class RangeDownload:
    """A task: writes beside `target`, checks, and gives it its name.

    Args:
        uri: Asked only for messages.
    """

    def __init__(
        self,
        source: Source,
        uri: Callable[[], str],
        target: Path,
        size: int,
        expected: Mapping[str, Any],
        rules: Rules,
    ) -> None:
        self._source = source
        self._uri = uri
        self._target = target
        folder, name = os.path.split(target)
        self._partial = os.path.join(folder, f".{name[:100]}.{os.urandom(16).hex()}.partial")  # noqa: PTH118
        self._size = size
        self._expected = expected
        self._rules = rules
        self._lock = threading.Lock()
        self._fd = -1
        self._done: dict[int, tuple[int, int]] = {}  # offset -> sum, length
        self._versions: dict[str, Version] = {}
        self._kind = checksum.comparable(expected)

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One for each range."""
        return (partial(self._range, offset) for offset in self._offsets())

    def abort(self) -> None:
        """Remove what has been written."""
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(self._partial)  # noqa: PTH108

    def _range(self, offset: int) -> None:
        self._fetch(offset)
        with self._lock:
            if len(self._done) < len(self._offsets()):
                return
        for tries_left in range(_FETCHES - 1, -1, -1):
            damage = self._damage()
            if not damage:
                break
            if not tries_left:
                raise StorageError(f"{self._uri()} {damage}")
            self._rules.progress.retried()
            self._rules.progress.moved(-self._size)
            self._done.clear()
            self._versions.clear()
            for again in self._offsets():
                self._fetch(again)
        self._close()
        try:
            os.replace(self._partial, self._target)  # noqa: PTH105
        except OSError as e:
            raise local_error("write", self._target, e) from e
        self._rules.progress.finished()

    def _fetch(self, offset: int) -> None:
        length = min(self._source.range_bytes, self._size - offset)
        fd = self._open()
        value, got = 0, 0

        def sink(data: bytes) -> None:
            nonlocal value, got
            if got + len(data) > length:
                raise StorageError(f"{self._uri()} gives more bytes than the {self._size} it was listed with")
            try:
                write_all(fd, data, offset + got)
            except OSError as e:
                raise local_error("write", self._target, e) from e
            value = self._kind.extend(data, value)
            got += len(data)

        def missing() -> Version:
            before = got
            version = self._source.read(
                offset + got, length - got, length == self._size and not got and offset == 0, sink
            )
            if got < length:
                raise StorageError(
                    f"{self._uri()} ended after {offset + got} bytes instead of {self._size}",
                    # A file that has become shorter gives no more at the next try.
                    retryable=got > before,
                )
            return version

        version = self._rules.again(missing) if length else Version()
        with self._lock:
            self._done[offset] = (value, length)
            self._versions[version.tag] = version
        self._rules.progress.moved(length)

    def _damage(self) -> str:
        tags = [tag for tag in self._versions if tag]
        if len(tags) > 1:
            return "was replaced while it was read"
        value = self._kind.join(self._done[offset] for offset in sorted(self._done))
        told = self._versions[tags[0]].sums if tags else {}
        wanted = self._expected.get(self._kind.name, told.get(self._kind.name))
        if wanted is not None and str(wanted) != checksum.text(value):
            return f"came with {self._kind.name} {checksum.text(value)} instead of {wanted}"
        return ""

    def _offsets(self) -> range:
        return range(0, max(1, self._size), self._source.range_bytes)

    def _open(self) -> int:
        with self._lock:
            if self._fd < 0:
                try:
                    self._fd = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
                except OSError as e:
                    raise local_error("write", self._target, e) from e
            return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def local_error(action: str, path: Path, error: OSError) -> StorageError:
    """A file of this machine, not the store, stood in the way."""
    return StorageError(f"cannot {action} {path}: {error.strerror or error}")
