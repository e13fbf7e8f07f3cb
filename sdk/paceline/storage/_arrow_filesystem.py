"""The pyarrow filesystem of a store, for `Checkpoint.filesystem` and `Result.filesystem`."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from paceline.storage._base import Storage
from paceline.storage._errors import StorageError, missing_package


def to_arrow(storage: Storage, path: str) -> tuple[Any, str]:
    """A `pyarrow.fs.FileSystem` that shows the same files, and the path in it.

    Raises:
        StorageError: pyarrow, or what it needs for this store, is not installed.
    """
    try:
        from pyarrow import fs
    except ImportError as e:
        raise missing_package("pyarrow's view of a", "pyarrow", "arrow") from e
    return _make(fs, storage), path


def _make(fs: Any, storage: Storage) -> Any:
    from paceline.storage._arrow import ArrowTree
    from paceline.storage._fsspec import FsspecTree
    from paceline.storage._gcs import GcsTree
    from paceline.storage._hdfs import HdfsTree
    from paceline.storage._hdfs_web import WebHdfsTree
    from paceline.storage._tree import TreeStorage

    if storage.scheme == "file":
        return fs.LocalFileSystem()
    if storage.scheme == "s3" and not isinstance(storage, TreeStorage):
        return _s3(fs, storage)
    tree = storage.tree if isinstance(storage, TreeStorage) else None
    if isinstance(tree, ArrowTree):
        return tree.filesystem
    if isinstance(tree, GcsTree) and not tree.given:
        return _gcs(fs, tree.options)
    if isinstance(tree, HdfsTree):
        return fs.PyFileSystem(fs.FSSpecHandler(tree.arrow()))
    if isinstance(tree, GcsTree | FsspecTree | WebHdfsTree):
        return fs.PyFileSystem(fs.FSSpecHandler(tree.filesystem))
    raise StorageError(f"pyarrow has no filesystem for {storage.scheme} storage")


def _s3(fs: Any, storage: Any) -> Any:
    options = storage.options
    endpoint = options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    given: dict[str, Any] = {"allow_bucket_creation": options.allow_bucket_creation}
    if endpoint:
        parts = urlsplit(endpoint)
        given |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        region = region or "us-east-1"
    if region:
        given["region"] = region
    return fs.S3FileSystem(**given)


def _gcs(fs: Any, options: Any) -> Any:
    given: dict[str, Any] = {"anonymous": options.anonymous}
    if endpoint := options.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST"):
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        given |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if options.project:
        given["project_id"] = options.project
    return fs.GcsFileSystem(**given)
