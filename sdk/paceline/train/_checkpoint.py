"""`Checkpoint`: a directory of files, here or in a store."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline import _contract as c
from paceline.train._location import Location

if TYPE_CHECKING:
    from paceline.train._client import Client


class Checkpoint:
    """A directory of files: a local path, a URI such as `s3://bucket/run/checkpoint_000003`, or a path in a filesystem.

    Attributes:
        path: Without a scheme: an absolute path of this machine, `bucket/key`, or the path in the given filesystem.
    """

    __slots__ = ("_location",)

    def __init__(self, path: str | os.PathLike[str], filesystem: Any = None) -> None:
        """Name a checkpoint; nothing is read.

        Args:
            path: A local path or a URI; with `filesystem` a path in that, without a scheme.
            filesystem: A `pyarrow.fs.FileSystem` or an fsspec filesystem.
        Raises:
            ValueError: A filesystem is given and the path has a scheme.
            paceline.storage.StorageError: The URI's scheme or query is not known.
        """
        self._location = Location(path, filesystem)

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Make a checkpoint of a local directory; nothing is copied."""
        return cls(path)

    @classmethod
    def _at(cls, location: Location) -> Checkpoint:
        made = cls.__new__(cls)
        made._location = location
        return made

    @property
    def path(self) -> str:
        """Where it is in its store, without a scheme."""
        return self._location.path

    @property
    def uri(self) -> str:
        """The text that names store and path, for `Checkpoint(uri)` anywhere; of a local checkpoint its path.

        Of a checkpoint with a filesystem object the bare path: no text says how to make the object.
        """
        return self._location.uri

    @property
    def filesystem(self) -> Any:
        """The store as a `pyarrow.fs.FileSystem`, in which the files are below `path`.

        Raises:
            ImportError: pyarrow is not installed (`paceline[arrow]`).
        """
        return self._location.arrow

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the files into a directory, and return it. A committed checkpoint's sizes and checksums are checked.

        Several processes may do so at once: one copies at a time, and files that are there already and right stay.

        Args:
            path: Created when missing. None: a new temporary directory, yours to delete.
        Raises:
            FileNotFoundError: A local checkpoint is not there.
            paceline.storage.StorageError: The store failed, has no such checkpoint, or a file of it is damaged.
        """
        import shutil
        import tempfile

        from paceline.train._reading import copy_into

        target = Path(path) if path is not None else Path(tempfile.mkdtemp(prefix="paceline-checkpoint-"))
        new = path is None or not target.exists()
        try:
            if self._agent() is not None:
                with self.as_directory() as source:
                    copy_into(Location(source), target)
            else:
                self._check_local()
                copy_into(self._location, target)
        except BaseException:
            if new:
                shutil.rmtree(target, ignore_errors=True)
            raise
        return str(target)

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """The files as a local directory: in place when they are local, else a temporary copy.

        The processes of a pod, and outside a pod those of a machine, share one copy of a remote checkpoint, which is
        removed after its last user: do not write into it. What arrives is checked as by `to_directory`.

        Raises:
            FileNotFoundError: A local checkpoint is not there.
            paceline.storage.StorageError: The store failed, has no such checkpoint, or a file of it is damaged.
        """
        if self._location.is_local:
            self._check_local()
            yield self.path
        elif agent := self._agent():
            held, answer = agent.open_request({"t": "fetch", "uri": self.uri})
            with held:
                yield str(_checked(answer)["path"])
        else:
            from paceline.train._reading import shared_directory

            with shared_directory(self._location) as directory:
                yield str(directory)

    def get_metadata(self) -> dict[str, Any]:
        """What `set_metadata` stored; empty when nothing."""
        text = self._read_metadata()
        found = json.loads(text) if text else {}
        if not isinstance(found, dict):
            raise ValueError(f"{self.uri}/{c.METADATA_FILE} is not a dict: set_metadata replaces it")
        return found

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Store a dict beside the files, in place of what was there.

        Args:
            metadata: As metrics: numbers, texts, bools, lists and dicts with texts as keys. NaN is stored as "NaN".
        Raises:
            TypeError: It holds something else.
        """
        from paceline._metrics import plain

        _check_dict(metadata)
        self._write_metadata(json.dumps(plain(metadata, "metadata")))

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to what is stored; the same keys are replaced."""
        _check_dict(metadata)
        self.set_metadata({**self.get_metadata(), **metadata})

    def __repr__(self) -> str:
        given = self._location.given
        if given is None:
            return f"Checkpoint({self.uri!r})"
        return f"Checkpoint({self.path!r}, filesystem=<{type(given).__name__}>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self._location == other._location

    def __hash__(self) -> int:
        return hash(self._location)

    def __reduce__(self) -> tuple[Any, ...]:
        return Checkpoint, self._location.__reduce__()[1]

    def _local_path(self) -> Path | None:
        """The directory, when it is on this machine."""
        return Path(self.path) if self._location.is_local else None

    def _agent(self) -> Client | None:
        """Who reads a remote checkpoint for this process: its agent, which knows URIs and the run's own filesystem."""
        from paceline.train import _client

        return None if self._location.is_local or not self._is_named_by_uri() else _client.client()

    def _is_named_by_uri(self) -> bool:
        """Whether `uri` leads here for every process of this run: a filesystem object is known when it is the run's."""
        given = self._location.given
        return given is None or self._location.is_local or bool(given == _run_filesystem())

    def _check_local(self) -> None:
        if self._location.is_local and not Path(self.path).is_dir():
            raise FileNotFoundError(f"no checkpoint at {self.path}")

    def _read_metadata(self) -> str | None:
        if self._location.is_local:
            try:
                return Path(self.path, c.METADATA_FILE).read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        if agent := self._agent():
            text: str | None = _checked(agent.request({"t": "read", "uri": self.uri, "name": c.METADATA_FILE}))["text"]
            return text
        from paceline.storage import StorageNotFoundError

        try:
            return self._location.storage.read(f"{self.path}/{c.METADATA_FILE}").decode()
        except StorageNotFoundError:
            return None

    def _write_metadata(self, text: str) -> None:
        if self._location.is_local:
            self._check_local()
            _replace(Path(self.path, c.METADATA_FILE), text)
        elif agent := self._agent():
            _checked(agent.request({"t": "write", "uri": self.uri, "name": c.METADATA_FILE, "text": text}))
        else:
            self._location.storage.write(f"{self.path}/{c.METADATA_FILE}", text.encode())


def of_run(path: str) -> Checkpoint:
    """A checkpoint as the agent names it: a URI, a local path, or a path in the filesystem object of this run."""
    filesystem = None if "://" in path else _run_filesystem()
    # A run in a filesystem object may have begun from a directory of this machine.
    if filesystem is not None and Path(path).is_absolute() and Path(path).is_dir():
        filesystem = None
    return Checkpoint(path, filesystem)


_filesystems: dict[str, Any] = {}  # file -> the object that was in it


def _run_filesystem() -> Any:
    """The filesystem object that this local run was given, or None."""
    file = os.environ.get(c.STORAGE_FILESYSTEM)
    if not file:
        return None
    if file not in _filesystems:
        import pickle

        # Written by the process that started this run, for it alone.
        _filesystems[file] = pickle.loads(Path(file).read_bytes())
        if "pyarrow" in sys.modules:
            # An object that came by pickle alone skips this module, which ends Arrow's S3 client at exit: without that
            # the process may die of SIGSEGV when it is done.
            import pyarrow.fs  # noqa: F401
    return _filesystems[file]


def _check_dict(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a {type(metadata).__name__}: pass a dict")


def _replace(path: Path, text: str) -> None:
    """A reader in another process sees the old text or the new one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        from paceline.storage import StorageError

        raise StorageError(answer["error"])
    return answer
