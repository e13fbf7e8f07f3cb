"""HDFS over HTTP (WebHDFS), with fsspec's client for the name node.

The bytes go by requests of our own on its session: fsspec's files write every block by an append, take the error page
of a data node for content, and wait without end for an answer.
"""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paceline.storage._errors import missing_package
from paceline.storage._hdfs_tree import NameNodeTree
from paceline.storage._process import PerProcess
from paceline.storage._tree import TreeStorage, chunks

_CHUNK = 4 * 1024 * 1024
_TIMEOUT_S = (10.0, 120.0)  # to connect; between two bytes of an answer
_CONNECTIONS = 32
_PORT = 9870


class WebHdfsStorage(TreeStorage):
    """A path is absolute, as in HDFS."""

    def __init__(self, address: str, user: str = "", filesystem: Any = None) -> None:
        super().__init__(WebHdfsTree(address, user, filesystem))


class WebHdfsTree(NameNodeTree):
    """Over HTTP."""

    scheme = "webhdfs"

    def __init__(self, address: str, user: str = "", given: Any = None) -> None:
        super().__init__(address, user, given)
        self._made = PerProcess(lambda: _make(address, user) if given is None else _with_timeouts(_renew(given)))

    @property
    def filesystem(self) -> Any:
        """fsspec's WebHDFS of this process."""
        return self._made.get()

    def make_directory(self, path: str) -> None:
        """With parents; there already is fine."""
        self.filesystem._call("MKDIRS", "put", path or "/")

    def put_bytes(self, path: str, data: bytes) -> None:
        """Create or replace."""
        self._create(path, data)

    def put_file(self, local: str, path: str) -> None:
        """As a stream."""
        with Path(local).open("rb") as source:
            self._create(path, chunks(source, _CHUNK))

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """One call. Without options a RENAME onto a file does nothing, and says so in its body alone."""
        option = "OVERWRITE" if replace else "NONE"
        try:
            answer = self.filesystem._call("RENAME", "put", source, destination=target, renameoptions=option)
        except RuntimeError as e:
            if not replace and "already exists" in str(e):
                raise FileExistsError(target) from e
            raise
        # HttpFS knows no options and answers as the plain RENAME does.
        if not answer.content or answer.json().get("boolean", True):
            return
        if not replace:
            raise FileExistsError(target)
        self.remove(target)
        if not self.filesystem._call("RENAME", "put", source, destination=target).json().get("boolean"):
            raise OSError(f"the name node did not rename {source} to {target}")

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """From a data node."""
        try:
            with self._opened(path, start, None if end is None else end - start) as answer:
                return bytes(answer.content)
        except RuntimeError as e:
            if "out of the range" in str(e):  # starts at or behind the end
                return b""
            raise

    def get_file(self, path: str, local: str) -> None:
        """As a stream."""
        with self._opened(path, 0, None) as answer, Path(local).open("wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)

    def size(self, path: str) -> int | None:
        """From the name node."""
        try:
            found = self.filesystem.info(path)
        except FileNotFoundError:
            return None
        return None if found["type"] == "directory" else int(found["size"])

    def remove(self, path: str) -> None:
        """One file."""
        self.filesystem._call("DELETE", "delete", path, recursive="false")

    def remove_tree(self, directory: str) -> bool:
        """One call."""
        self.filesystem._call("DELETE", "delete", directory, recursive="true")
        return True

    def _create(self, path: str, data: bytes | Iterable[bytes]) -> None:
        filesystem = self.filesystem
        # Two steps: the name node sends to a data node, which takes the bytes.
        sent = filesystem._call("CREATE", "put", path, redirect=False, overwrite="true")
        location = filesystem._apply_proxy(sent.headers["Location"])
        answer = filesystem.session.put(
            location, data=data, headers={"content-type": "application/octet-stream"}, allow_redirects=False
        )
        _see(answer)

    def _opened(self, path: str, start: int, length: int | None) -> Any:
        filesystem = self.filesystem
        part = {"offset": str(start)} if start else {}
        if length is not None:
            part["length"] = str(length)
        sent = filesystem._call("OPEN", path=path, redirect=False, **part)
        answer = sent
        if "Location" in sent.headers:
            answer = filesystem.session.get(filesystem._apply_proxy(sent.headers["Location"]), stream=True)
        _see(answer)
        return answer

    def _list(self, directory: str) -> list[tuple[str, bool, int]]:
        listed = self.filesystem._call("LISTSTATUS", path=directory or "/").json()["FileStatuses"]["FileStatus"]
        # A file lists itself, with no name below.
        return [
            (f"{directory}/{e['pathSuffix']}", e["type"] == "DIRECTORY", int(e["length"]))
            for e in listed
            if e["pathSuffix"]
        ]


def _make(address: str, user: str) -> Any:
    try:
        import requests  # noqa: F401
        from fsspec.implementations.webhdfs import WebHDFS
    except ImportError as e:
        raise missing_package("webhdfs://", "fsspec and requests", "hdfs") from e
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    name = user or os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
    return _with_timeouts(WebHDFS(host, int(port or _PORT), user=name, skip_instance_cache=True))


def _renew(given: Any) -> Any:
    return type(given)(*given.storage_args, **{**given.storage_options, "skip_instance_cache": True})


def _with_timeouts(filesystem: Any) -> Any:
    from requests.adapters import HTTPAdapter

    session = filesystem.session
    session.request = functools.partial(session.request, timeout=_TIMEOUT_S)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return filesystem


def _see(answer: Any) -> None:
    if answer.status_code < 400:
        return
    try:
        said = answer.json()["RemoteException"]
        message = f"{said.get('exception')}: {said.get('message')}"
    except (ValueError, KeyError, TypeError):
        answer.raise_for_status()
        raise
    if said.get("exception") == "FileNotFoundException":
        raise FileNotFoundError(message)
    if said.get("exception") in ("AccessControlException", "SecurityException"):
        raise PermissionError(message)
    raise OSError(message)
