"""Which store does a storage path mean?"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from paceline.storage._base import Storage
from paceline.storage._errors import StorageError

_SCHEMES = ("a plain path", "file://", "s3://")


def supported_schemes() -> str:
    """For messages: what a storage path may start with."""
    return ", ".join(_SCHEMES)


def resolve(uri: str) -> tuple[Storage, str]:
    """The store and the path in it.

    Args:
        uri: A path (`/mnt/shared/runs`), `file:///mnt/shared/runs`, or `s3://bucket/prefix?endpoint_override=...`.
    Raises:
        StorageError: The scheme or a query key is not known; the message names those that are.
    """
    if not uri.strip():
        raise StorageError("the storage path is empty: give a path or a URI such as s3://bucket/prefix")
    if "://" not in uri:
        from paceline.storage._local import LocalStorage

        return LocalStorage(), str(Path(uri).expanduser().absolute())
    parts = urlsplit(uri)
    if parts.scheme == "file":
        from paceline.storage._local import LocalStorage

        if parts.netloc not in ("", "localhost"):
            raise StorageError(f"{uri!r} names a host: a file URI has three slashes, file:///mnt/shared")
        return LocalStorage(), unquote(parts.path)
    if parts.scheme == "s3":
        from paceline.storage._s3 import S3Storage
        from paceline.storage._s3_options import S3Options

        if not parts.netloc:
            raise StorageError(f"{uri!r} names no bucket: write s3://<bucket>/<prefix>")
        options = S3Options.from_query(parse_qsl(parts.query, keep_blank_values=True))
        return S3Storage(options), f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    raise StorageError(f"storage paths of the kind {parts.scheme}:// are not supported: use {supported_schemes()}")


def join(uri: str, *names: str) -> str:
    """`uri` with names added to its path; a query (`?region=...`) stays at the end."""
    path, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([path.rstrip("/"), *names]) + mark + query
