"""`Storage` over a small set of primitives, for the stores whose clients look alike from here.

A *tree* is one client library seen through those primitives; it raises whatever its library raises. What every store
must promise (nothing partial is seen, one creator wins, a listing that fails is an error) is made here, once.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from paceline.storage import _tree_errors
from paceline.storage._base import PARTIAL_PREFIX, Entry, probe
from paceline.storage._errors import StorageError, WaysOut

_DELETES_AT_ONCE = 16
T = TypeVar("T")

# Of writers in this process one wins, also where the store itself cannot tell who was first.
_creating = threading.Lock()


def _renew_lock() -> None:
    global _creating
    _creating = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Tree(Protocol):
    """The primitives. Paths are those of the client library; what is not there raises FileNotFoundError."""

    scheme: str
    exclusive: bool  # put_new or rename(replace=False) is decided by the store
    renames: bool  # a put is seen while it grows, so it goes to a partial name first
    ways: WaysOut

    def uri(self, path: str) -> str:
        """As `Storage.uri`."""
        ...

    def prepare(self, path: str) -> None:
        """Create the bucket of `path` where the options allow it."""
        ...

    def make_directory(self, path: str) -> None:
        """With its parents; nothing to do where the store has no directories."""
        ...

    def put_bytes(self, path: str, data: bytes) -> None:
        """Create or replace."""
        ...

    def put_new(self, path: str, data: bytes) -> None:
        """Create; FileExistsError when it is there. Only asked of trees that do not rename."""
        ...

    def put_file(self, local: str, path: str) -> None:
        """Create or replace from a local file, with bounded memory."""
        ...

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Move a file; FileExistsError when `target` is there and `replace` is not set."""
        ...

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """From `start` up to `end`."""
        ...

    def get_file(self, path: str, local: str) -> None:
        """Into a local file, with bounded memory."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none, or a directory."""
        ...

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """Full path and bytes of each file below, at any depth."""
        ...

    def directories(self, directory: str) -> list[str]:
        """Names right below."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file."""
        ...

    def remove_tree(self, directory: str) -> bool:
        """Delete a directory with all below; False where it can only be done file by file."""
        ...


class TreeStorage:
    """The stores of `_gcs`, `_hdfs`, `_hdfs_web`, `_fsspec` and `_arrow`."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @property
    def scheme(self) -> str:
        """The tree's."""
        return self.tree.scheme

    @property
    def exclusive(self) -> bool:
        """The tree's."""
        return self.tree.exclusive

    def uri(self, path: str) -> str:
        """The path with scheme and options, or alone where an object was given."""
        return self.tree.uri(path)

    def check(self, path: str) -> None:
        """A real write, read and delete."""
        with self._told("reach", path):
            self.tree.prepare(path)
        probe(self, path)

    def read(self, path: str) -> bytes:
        """The whole content."""
        with self._told("read", path):
            return self.tree.get_bytes(path, 0, None)

    def get_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of the content."""
        if length <= 0:
            return b""
        with self._told("read", path):
            return self.tree.get_bytes(path, offset, offset + length)

    def write(self, path: str, data: bytes) -> None:
        """A put, or a partial name that is renamed."""
        with self._told("write", path, writes=True):
            if self.tree.renames:
                self._publish(path, len(data), lambda to: self.tree.put_bytes(to, data), replace=True)
            else:
                self.tree.make_directory(_parent(path))
                self.tree.put_bytes(path, data)

    def create_if_absent(self, path: str, data: bytes) -> bool:
        """As far as the tree is exclusive."""
        with self._told("create", path, writes=True):
            try:
                if self.tree.exclusive:
                    self._create(path, data)
                else:
                    # Somebody else may write between the look and the write; `exclusive` says so.
                    with _creating:
                        if self.tree.size(path) is not None:
                            raise FileExistsError(path)
                        self._create(path, data)
            except FileExistsError:
                # A client that repeats a write whose answer was lost meets its own.
                return self._content(path) == data
        return True

    def put_file(self, local: str, path: str) -> None:
        """Upload, and see that what arrived has the file's size."""
        with self._told("upload", path, writes=True):
            size = Path(local).stat().st_size
            if self.tree.renames:
                self._publish(path, size, lambda to: self.tree.put_file(local, to), replace=True)
                return
            self.tree.make_directory(_parent(path))
            self.tree.put_file(local, path)
            if (stored := self.tree.size(path)) != size:
                # Some clients publish what they have when the rest fails, and say nothing.
                self._forget(path)
                raise _torn(self.uri(path), stored, size)

    def get_file(self, path: str, local: str) -> None:
        """Download beside, rename."""
        partial = f"{local}.{threading.get_ident()}.partial"
        try:
            with self._told("download", path):
                self.tree.get_file(path, partial)
                Path(partial).replace(local)
        finally:
            with suppress(OSError):
                Path(partial).unlink(missing_ok=True)

    def files(self, directory: str) -> Iterator[Entry]:
        """Every file below."""
        below = f"{directory.rstrip('/')}/"
        with self._told("list", directory):
            try:
                for path, size in self.tree.find(directory.rstrip("/")):
                    if path.startswith(below) and not path.rpartition("/")[2].startswith(PARTIAL_PREFIX):
                        yield Entry(path[len(below) :], size)
            except FileNotFoundError:
                return

    def directories(self, directory: str) -> list[str]:
        """Names of the directories right below."""
        with self._told("list", directory):
            try:
                return sorted(self.tree.directories(directory.rstrip("/")))
            except FileNotFoundError:
                return []

    def size(self, path: str) -> int | None:
        """Bytes, or None."""
        with self._told("read", path):
            return self.tree.size(path)

    def delete(self, path: str) -> None:
        """What is not there is fine."""
        with self._told("delete", path), suppress(FileNotFoundError):
            self.tree.remove(path)

    def delete_directory(self, directory: str) -> None:
        """At once where the store can, else file by file, several at a time."""
        directory = directory.rstrip("/")
        with self._told("delete", directory):
            with suppress(FileNotFoundError):
                if self.tree.remove_tree(directory):
                    return
            paths = [f"{directory}/{entry.name}" for entry in self.files(directory)]
            in_parallel(self.delete, paths, at_once=_DELETES_AT_ONCE)

    def _create(self, path: str, data: bytes) -> None:
        if self.tree.renames:
            self._publish(path, len(data), lambda to: self.tree.put_bytes(to, data), replace=False)
        else:
            self.tree.make_directory(_parent(path))
            self.tree.put_new(path, data)

    def _publish(self, path: str, size: int, put: Callable[[str], None], *, replace: bool) -> None:
        parent, name = _parent(path), path.rpartition("/")[2]
        partial = f"{parent}/{PARTIAL_PREFIX}{name[:100]}-{uuid.uuid4().hex}"
        self.tree.make_directory(parent)
        try:
            put(partial)
            if (stored := self.tree.size(partial)) != size:
                raise _torn(self.uri(path), stored, size)
            self.tree.rename(partial, path, replace=replace)
        except BaseException:
            self._forget(partial)
            raise

    def _content(self, path: str) -> bytes | None:
        try:
            return self.tree.get_bytes(path, 0, None)
        except FileNotFoundError:
            return None

    def _forget(self, path: str) -> None:
        with suppress(Exception):
            self.tree.remove(path)

    @contextmanager
    def _told(self, action: str, path: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except Exception as e:
            # Without the options: a message should show the file.
            before, found, _ = self.uri(path).partition(path)
            raise _tree_errors.told(f"cannot {action} {before}{found}", e, self.tree.ways, writes=writes) from e


def in_parallel(call: Callable[[str], object], names: list[str], *, at_once: int) -> None:
    """Call for each name; the first error is raised when all have ended."""
    if not names:
        return
    with ThreadPoolExecutor(min(at_once, len(names))) as pool:
        for done in [pool.submit(call, name) for name in names]:
            done.result()


def walk(list_directory: Callable[[str], list[tuple[str, bool, int]]], directory: str) -> Iterator[tuple[str, int]]:
    """`find` for clients that list one directory: (full path, is a directory, bytes) of each entry.

    Clients' own walks leave out what they failed to list; here it is an error, but for what vanished meanwhile.
    """
    pending = [directory]
    while pending:
        current = pending.pop()
        try:
            listed = list_directory(current)
        except FileNotFoundError:
            continue
        for path, is_directory, size in listed:
            if path == current:
                continue
            if is_directory:
                pending.append(path)
            else:
                yield path, size


def chunks(file: Any, size: int) -> Iterator[bytes]:
    """The content of an open file in pieces."""
    while chunk := file.read(size):
        yield chunk


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _torn(uri: str, stored: int | None, wanted: int) -> StorageError:
    return StorageError(f"{uri} was stored with {stored} bytes instead of {wanted}", retryable=True)
