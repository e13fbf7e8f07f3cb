"""Any other filesystem of fsspec: Azure (`abfs://`), SFTP, SMB, memory, a company's own.

Its objects are used as they are; their listing caches are emptied before each look, since other machines write too.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from paceline.storage import _tree_errors, _uri
from paceline.storage._errors import StorageError, WaysOut, missing_package
from paceline.storage._process import PerProcess
from paceline.storage._tree import TreeStorage, walk

_CHUNK = 16 * 1024 * 1024
# Where a write appears whole or not at all. Elsewhere a file grows under its name, so it gets another one first.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "obs", "tos", "swift", "hf"}
# fsspec's own settings, which every filesystem takes.
_OWN = {"self", "args", "kwargs", "storage_options", "asynchronous", "loop", "batch_size", "skip_instance_cache",
        "use_listings_cache", "fs", "fo", "mapper"}  # fmt: skip
_WAYS = WaysOut(
    credentials="set what this filesystem of fsspec reads from the environment, or pass an object that has them",
)


class FsspecStorage(TreeStorage):
    """A path is what the filesystem takes."""

    def __init__(self, filesystem: Any, uri: _uri.StorageUri | None = None) -> None:
        super().__init__(FsspecTree(filesystem, uri))


class FsspecTree:
    """No filesystem of fsspec promises an exclusive create, so none is claimed."""

    exclusive = False
    ways = _WAYS

    def __init__(self, filesystem: Any, uri: _uri.StorageUri | None = None) -> None:
        self._given = filesystem
        self._options = "" if uri is None else _uri.write("", "", dict(uri.options)).removeprefix("://")
        self._named = uri is not None
        protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
        self.scheme: str = uri.scheme if uri is not None else protocols[0]
        self.renames = not _WHOLE & set(protocols)
        pid = os.getpid()
        self._made = PerProcess(lambda: filesystem if os.getpid() == pid else renewed(filesystem))

    @property
    def filesystem(self) -> Any:
        """The fsspec object of this process."""
        return self._made.get()

    def uri(self, path: str) -> str:
        """As fsspec writes it, with our options."""
        return f"{self._given.unstrip_protocol(path)}{self._options}" if self._named else path

    def prepare(self, path: str) -> None:
        """The directory, where there are any."""
        self.make_directory(path)

    def make_directory(self, path: str) -> None:
        """With parents."""
        if self.renames and path:
            with suppress(FileExistsError):
                self.filesystem.makedirs(path, exist_ok=True)

    def put_bytes(self, path: str, data: bytes) -> None:
        """Create or replace."""
        self.filesystem.pipe_file(path, data)

    def put_new(self, path: str, data: bytes) -> None:
        """The store has been looked at."""
        self.filesystem.pipe_file(path, data)

    def put_file(self, local: str, path: str) -> None:
        """By the filesystem's own upload."""
        self.filesystem.put_file(local, path)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """A move; what is there goes first, since many filesystems move onto nothing but a free name."""
        filesystem = self.filesystem
        if self.size(target) is not None:
            if not replace:
                raise FileExistsError(target)
            filesystem.rm_file(target)
        if type(filesystem).mv is _plain_move():
            # fsspec's own reads `*`, `?` and `[` in names as patterns.
            filesystem.cp_file(source, target)
            filesystem.rm_file(source)
        else:
            filesystem.mv(source, target)
        filesystem.invalidate_cache()
        if not filesystem.exists(target):
            raise OSError(f"{source} was not moved to {target}, and no reason was given")

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """A part."""
        if start == 0 and end is None:
            return bytes(self.filesystem.cat_file(path))
        return bytes(self.filesystem.cat_file(path, start=start, end=end))

    def get_file(self, path: str, local: str) -> None:
        """Range by range: memory is bounded, and nothing is shared between threads."""
        size = self.size(path)
        if size is None:
            raise FileNotFoundError(path)
        with Path(local).open("wb") as file:
            for start in range(0, size, _CHUNK):
                file.write(self.get_bytes(path, start, min(size, start + _CHUNK)))

    def size(self, path: str) -> int | None:
        """From its metadata."""
        filesystem = self.filesystem
        filesystem.invalidate_cache()
        try:
            found = filesystem.info(path)
        except FileNotFoundError:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """Directory by directory."""
        return walk(self._list, directory)

    def directories(self, directory: str) -> list[str]:
        """Right below."""
        return [
            path.rpartition("/")[2]
            for path, is_directory, _ in self._list(directory)
            if is_directory and path != directory
        ]

    def remove(self, path: str) -> None:
        """One file."""
        self.filesystem.rm_file(path)

    def remove_tree(self, directory: str) -> bool:
        """File by file, then the directories; `rm` of fsspec reads `*`, `?` and `[` in names as patterns."""
        if not self.renames:
            return False
        for path, is_directory, _ in self._list(directory):
            if is_directory and path != directory:
                self.remove_tree(path)
            else:
                with suppress(FileNotFoundError):
                    self.remove(path)
        with suppress(FileNotFoundError, NotImplementedError):
            self.filesystem.rmdir(directory)
        return True

    def _list(self, directory: str) -> list[tuple[str, bool, int]]:
        filesystem = self.filesystem
        filesystem.invalidate_cache()
        return [
            (e["name"].rstrip("/"), e["type"] == "directory", int(e["size"] or 0))
            for e in filesystem.ls(directory, detail=True)
        ]


def _plain_move() -> Any:
    from fsspec import AbstractFileSystem

    return AbstractFileSystem.mv


def open_uri(uri: _uri.StorageUri) -> tuple[Any, str]:
    """The filesystem of a URI and the path in it.

    Raises:
        StorageError: fsspec or the package of the protocol is not installed, or an option is not known.
    """
    try:
        import fsspec
    except ImportError as e:
        raise missing_package(f"{uri.scheme}://", "fsspec", "fsspec") from e
    try:
        kind = fsspec.get_filesystem_class(uri.scheme)
    except ImportError as e:
        raise StorageError(
            f'{uri.scheme}:// storage: {_tree_errors.one_line(str(e))}, beside pip install "paceline[fsspec]"'
        ) from e
    except ValueError as e:
        from paceline.storage._resolve import supported_schemes

        raise StorageError(
            f"storage paths of the kind {uri.scheme}:// are not supported: use {supported_schemes()}"
        ) from e
    plain = f"{uri.scheme}://{uri.user + '@' if uri.user else ''}{uri.authority}/{uri.path}"
    options = _options(uri, kind)
    try:
        filesystem = kind(**{**kind._get_kwargs_from_urls(plain), **options}, use_listings_cache=False)
    except Exception as e:
        raise _tree_errors.told(f"cannot open {plain}", e, _WAYS) from e
    return filesystem, str(kind._strip_protocol(plain)).rstrip("/")


def renewed(filesystem: Any) -> Any:
    """The same filesystem made anew, for another process."""
    return type(filesystem)(*filesystem.storage_args, **{**filesystem.storage_options, "skip_instance_cache": True})


def _options(uri: _uri.StorageUri, kind: Any) -> dict[str, Any]:
    """What the filesystem's constructor names, but no credentials."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name not in _OWN
        and not _uri.is_secret(name)
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    given = _uri.read_options(uri, sorted(parameters))
    return {key: _value(uri, key, value, parameters[key].default) for key, value in given.items()}


def _value(uri: _uri.StorageUri, key: str, value: str, default: Any) -> Any:
    if isinstance(default, bool):
        return _uri.read_flag(uri, key, value)
    if isinstance(default, int):
        try:
            return int(value)
        except ValueError as e:
            raise StorageError(f"{key}={value} in {uri.kind}: use a whole number") from e
    return value
