"""Which store does a storage path mean?"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from paceline.storage import _uri
from paceline.storage._base import Storage
from paceline.storage._errors import StorageError
from paceline.storage._uri import join

__all__ = ["join", "resolve", "supported_schemes"]

_SCHEMES = ("a plain path", "file://", "s3://", "gs://", "hdfs://", "webhdfs://", "another protocol of fsspec")
# What people write for S3 elsewhere.
_OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "swebhdfs": "webhdfs"}


def supported_schemes() -> str:
    """For messages: what a storage path may start with."""
    return ", ".join(_SCHEMES)


def resolve(uri: str, filesystem: Any = None) -> tuple[Storage, str]:
    """The store and the path in it. Nothing is asked of the store yet.

    Args:
        uri: A path (`/mnt/shared/runs`) or a URI such as `s3://bucket/prefix?endpoint_override=...`.
        filesystem: A `pyarrow.fs.FileSystem` or an fsspec filesystem that holds the path, which has no scheme then.
    Raises:
        StorageError: The scheme or a query key is not known (the message names those that are), the URI carries a
            credential, or it has a scheme beside a filesystem.
    """
    if not uri.strip():
        raise StorageError("the storage path is empty: give a path or a URI such as s3://bucket/prefix")
    if filesystem is not None:
        if _uri.has_scheme(uri):
            bare = uri.partition("://")[2].partition("?")[0].rpartition("@")[2]
            raise StorageError(
                f"a storage path has no scheme beside a filesystem object: write {bare!r}, or leave out the object"
            )
        return _in_object(uri, filesystem)
    if not _uri.has_scheme(uri):
        return _local(uri)
    parts = _uri.parse(uri)
    if parts.scheme in ("file", "local"):
        if parts.authority not in ("", "localhost"):
            raise StorageError(f"{uri!r} names a host: a file URI has three slashes, file:///mnt/shared")
        _uri.read_options(parts, ())
        return _local("/" + unquote(parts.path))
    if parts.scheme == "s3":
        return _s3(parts)
    if parts.scheme in ("gs", "gcs"):
        return _gcs(parts)
    if parts.scheme in ("hdfs", "webhdfs"):
        return _hdfs(parts)
    if other := _OTHER_NAMES.get(parts.scheme):
        raise StorageError(f"storage paths of the kind {parts.scheme}:// are not supported: write {other}://")
    from paceline.storage._fsspec import FsspecStorage, open_uri

    made, path = open_uri(parts)
    return FsspecStorage(made, parts), path


def _local(path: str) -> tuple[Storage, str]:
    from paceline.storage._local import LocalStorage

    return LocalStorage(), str(Path(path).expanduser().absolute())


def _s3(parts: _uri.StorageUri) -> tuple[Storage, str]:
    from paceline.storage._s3 import S3Storage
    from paceline.storage._s3_options import S3Options

    return S3Storage(S3Options.from_query(parts.options)), _in_bucket(parts)


def _gcs(parts: _uri.StorageUri) -> tuple[Storage, str]:
    from paceline.storage._gcs import GcsStorage
    from paceline.storage._gcs_options import GcsOptions

    return GcsStorage(GcsOptions.of(parts)), _in_bucket(parts)


def _hdfs(parts: _uri.StorageUri) -> tuple[Storage, str]:
    user = _uri.read_options(parts, ("user",)).get("user", parts.user)
    host, _, port = parts.authority.partition(":")
    if (port and not port.isdigit()) or (not host and (port or parts.scheme == "webhdfs")):
        raise StorageError(f"{parts.kind} needs a host: write {parts.scheme}://<name node>:<port>/<directory>")
    if parts.scheme == "webhdfs":
        from paceline.storage._hdfs_web import WebHdfsStorage

        return WebHdfsStorage(parts.authority, user), f"/{parts.path}"
    from paceline.storage._hdfs import HdfsStorage

    return HdfsStorage(parts.authority, user), f"/{parts.path}"


def _in_bucket(parts: _uri.StorageUri) -> str:
    if not parts.authority:
        raise StorageError(f"{parts.kind} names no bucket: write {parts.scheme}://<bucket>/<prefix>")
    return f"{parts.authority}/{parts.path}".rstrip("/")


def _in_object(path: str, filesystem: Any) -> tuple[Storage, str]:
    """Told by the library that the object's class comes from, so that neither is imported for the other."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(filesystem).__mro__}
    inside = path.rstrip("/") or path
    if "pyarrow" in libraries and hasattr(filesystem, "get_file_info"):
        if filesystem.type_name == "local":
            return _local(path)
        handler: Any = getattr(filesystem, "handler", None)
        if type(handler).__name__ == "FSSpecHandler":
            return _in_object(path, handler.fs)
        from paceline.storage._arrow import ArrowStorage

        return ArrowStorage(filesystem), inside
    if "fsspec" in libraries and hasattr(filesystem, "protocol"):
        return _in_fsspec(inside, filesystem)
    raise StorageError(
        f"a storage filesystem is a pyarrow.fs.FileSystem or an fsspec filesystem, not {type(filesystem).__name__}"
    )


def _in_fsspec(path: str, filesystem: Any) -> tuple[Storage, str]:
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(filesystem).__mro__}
    if "fsspec.implementations.local.LocalFileSystem" in names:
        return _local(path)
    if "gcsfs.core.GCSFileSystem" in names:
        from paceline.storage._gcs import GcsStorage

        return GcsStorage(filesystem=filesystem), path.strip("/")
    if "hdfs_native.fsspec.HdfsFileSystem" in names:
        from paceline.storage._hdfs import HdfsStorage

        return HdfsStorage("", filesystem=filesystem), f"/{path.strip('/')}"
    if "fsspec.implementations.webhdfs.WebHDFS" in names:
        from paceline.storage._hdfs_web import WebHdfsStorage

        return WebHdfsStorage("", filesystem=filesystem), f"/{path.strip('/')}"
    from paceline.storage._fsspec import FsspecStorage

    return FsspecStorage(filesystem), str(filesystem._strip_protocol(path))
