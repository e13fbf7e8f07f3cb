"""`Checkpoint`: a directory of files, here or in a store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.train import _client

_METADATA = ".metadata.json"


class Checkpoint:
    """A directory of files: a local path, or a URI such as `s3://bucket/run/checkpoint_000003`.

    Attributes:
        path: As given; a local path is made absolute.
        filesystem: None. Stores are named by the URI.
    """

    def __init__(self, path: str | os.PathLike[str], filesystem: None = None) -> None:
        if filesystem is not None:
            raise TypeError(
                f"filesystem={type(filesystem).__name__} is not supported: name the store in the path, such as"
                " s3://bucket/prefix?endpoint_override=http://host:9000"
            )
        text = os.fspath(path)
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        self.path = text if "://" in text else str(Path(text).expanduser().absolute())
        self.filesystem = None

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Make a checkpoint of a local directory; nothing is copied."""
        return cls(path)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the files into a directory, and return it.

        Args:
            path: Created when missing. None: a new temporary directory, yours to delete.
        Raises:
            FileNotFoundError: A local checkpoint is not there.
            paceline.storage.StorageError: The store failed, or has no such checkpoint.
        """
        target = Path(path) if path is not None else Path(tempfile.mkdtemp(prefix="paceline-checkpoint-"))
        with self.as_directory() as source:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=_commit_ignored(source))
        return str(target)

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """The files as a local directory: in place when they are local, else a temporary copy.

        The processes of a pod share one copy of a remote checkpoint, which is removed after its last user: do not
        write into it.

        Raises:
            FileNotFoundError: A local checkpoint is not there.
            paceline.storage.StorageError: The store failed, or has no such checkpoint.
        """
        local = self._local_path()
        if local is not None:
            if not local.is_dir():
                raise FileNotFoundError(f"no checkpoint at {local}")
            yield str(local)
            return
        client = _client.client()
        if client is None:
            with tempfile.TemporaryDirectory(prefix="paceline-checkpoint-") as directory:
                _download(self.path, Path(directory))
                yield directory
            return
        held, answer = client.open_request({"t": "fetch", "uri": self.path})
        with held:
            yield str(_checked(answer)["path"])

    def get_metadata(self) -> dict[str, Any]:
        """What `set_metadata` stored; empty when nothing."""
        text = self._read_metadata()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Store a dict beside the files, in place of what was there.

        Raises:
            TypeError: It holds what JSON cannot.
        """
        self._write_metadata(json.dumps(dict(metadata)))

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to what is stored; the same keys are replaced."""
        self.set_metadata({**self.get_metadata(), **metadata})

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def _local_path(self) -> Path | None:
        return None if "://" in self.path else Path(self.path)

    def _read_metadata(self) -> str | None:
        local = self._local_path()
        if local is not None:
            try:
                return (local / _METADATA).read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        client = _client.client()
        if client is not None:
            sock, answer = client.open_request({"t": "read", "uri": self.path, "name": _METADATA})
            sock.close()
            text: str | None = _checked(answer)["text"]
            return text
        from paceline.storage import StorageNotFoundError, resolve

        storage, path = resolve(self.path)
        try:
            return storage.read(f"{path}/{_METADATA}").decode()
        except StorageNotFoundError:
            return None

    def _write_metadata(self, text: str) -> None:
        local = self._local_path()
        if local is not None:
            (local / _METADATA).write_text(text, encoding="utf-8")
            return
        client = _client.client()
        if client is not None:
            sock, answer = client.open_request({"t": "write", "uri": self.path, "name": _METADATA, "text": text})
            sock.close()
            _checked(answer)
            return
        from paceline.storage import resolve

        storage, path = resolve(self.path)
        storage.write(f"{path}/{_METADATA}", text.encode())


def _download(uri: str, directory: Path) -> None:
    from paceline.storage import resolve
    from paceline.storage.transfer import download_directory

    storage, path = resolve(uri)
    download_directory(storage, path, directory, wanted=lambda name: name != c.COMMIT_FILE)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        from paceline.storage import StorageError

        raise StorageError(answer["error"])
    return answer


def _commit_ignored(source: str) -> Any:
    return lambda directory, names: [c.COMMIT_FILE] if directory == source and c.COMMIT_FILE in names else []
