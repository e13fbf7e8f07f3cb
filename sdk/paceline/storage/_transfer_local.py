"""Files from one directory to another: a volume that pods share, or this machine's disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paceline.storage import checksum
from paceline.storage._base import PARTIAL_PREFIX
from paceline.storage._errors import StorageError, StorageNotFoundError, disk_error
from paceline.storage._local_files import copy, sync_directory
from paceline.storage._transfer_workers import Rules


class LocalCopy:
    """A task: copy beside the target, check, rename.

    Args:
        durable: The bytes are on the disk before the name is (a store); else the page cache is enough.
    """

    def __init__(
        self, source: Path, target: Path, size: int, expected: Mapping[str, Any], rules: Rules, *, durable: bool
    ) -> None:
        self._source = source
        self._target = target
        self._partial = target.with_name(f"{PARTIAL_PREFIX}{target.name[:100]}-{uuid.uuid4().hex}")
        self._size = size
        self._expected = expected
        self._rules = rules
        self._durable = durable
        self._kind = checksum.comparable(expected)
        self.about: dict[str, Any] = {}

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One: a disk gains nothing from several writers of one file."""
        return [lambda: self._rules.again(self._copy)]

    def abort(self) -> None:
        """Remove what has been written."""
        self._partial.unlink(missing_ok=True)

    def _copy(self) -> None:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            try:
                value, size = copy(self._source, self._partial, self._kind, durable=self._durable)
                self._check(value, size)
                self._partial.replace(self._target)
                if self._durable:
                    sync_directory(self._target.parent)
            finally:
                self._partial.unlink(missing_ok=True)
        except OSError as e:
            raise _told(self._source, self._target, e) from e
        self.about = {"size": size, self._kind.name: checksum.text(value)}
        self._rules.progress.moved(size)
        self._rules.progress.finished()

    def _check(self, value: int, size: int) -> None:
        if size != self._size:
            raise StorageError(f"{self._source} has {size} bytes instead of {self._size}")
        wanted = self._expected.get(self._kind.name)
        if wanted is not None and str(wanted) != checksum.text(value):
            raise StorageError(f"{self._source} came with {self._kind.name} {checksum.text(value)} instead of {wanted}")


def _told(source: Path, target: Path, error: OSError) -> StorageError:
    if isinstance(error, FileNotFoundError) and not source.exists():
        return StorageNotFoundError(f"cannot read {source}: no such file or directory")
    return disk_error(f"copy {source} to {target}", error)
