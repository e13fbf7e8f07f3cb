"""S3 and what speaks like it, by boto3.

boto3 raises when an upload fails in its middle or at its end, which not every client does; the agent still compares
sizes by a listing before it commits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from paceline.storage import _s3_errors
from paceline.storage._base import Entry, probe
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._s3_options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MIB = 1024 * 1024
_DELETE_BATCH = 1000  # the most that DeleteObjects takes
_CREATE_TRIES = 5


class S3Storage:
    """A client for one endpoint. A path is `bucket/key`."""

    scheme = "s3"
    exclusive = True

    def __init__(self, options: S3Options | None = None) -> None:
        self.options = options or S3Options()
        self._lock = threading.Lock()
        self._made: S3Client | None = None

    def uri(self, path: str) -> str:
        """The path with scheme and query."""
        query = self.options.query()
        return f"s3://{path}" + (f"?{query}" if query else "")

    def check(self, path: str) -> None:
        """The bucket is there (or is created when the URI allows it); an object can be written, read and deleted."""
        bucket = path.partition("/")[0]
        with self._told("reach", bucket):
            if self.options.allow_bucket_creation:
                self._create_bucket(bucket)
            # A listing, not HeadBucket: a HEAD has no body, so it would tell "403" without the reason.
            self._client.list_objects_v2(Bucket=bucket, Prefix=_split(path)[1], MaxKeys=1)
        probe(self, path)

    def read(self, path: str) -> bytes:
        """The whole object."""
        bucket, key = _split(path)
        with self._told("read", path):
            return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def write(self, path: str, data: bytes) -> None:
        """One PUT."""
        bucket, key = _split(path)
        with self._told("write", path):
            self._client.put_object(Bucket=bucket, Key=key, Body=data)

    def create_if_absent(self, path: str, data: bytes) -> bool:
        """PUT with If-None-Match: *."""
        bucket, key = _split(path)
        for _ in range(_CREATE_TRIES):
            try:
                with self._told("create", path):
                    self._client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            except _s3_errors.ConditionFailedError as e:  # noqa: PERF203
                try:
                    # A retry inside boto3 meets its own first try, whose answer was lost.
                    return self.read(path) == data
                except StorageNotFoundError:
                    if not e.conflict:
                        raise
            else:
                return True
        raise StorageError(f"cannot create s3://{path}: other writers keep interfering", retryable=True)

    def put_file(self, local: str, path: str) -> None:
        """Upload; large files in parallel parts."""
        bucket, key = _split(path)
        with self._told("upload", path):
            self._client.upload_file(local, bucket, key, Config=_transfer(os.path.getsize(local)))  # noqa: PTH202

    def get_file(self, path: str, local: str) -> None:
        """Download; large objects in parallel ranges. Appears under its name when it is whole."""
        bucket, key = _split(path)
        with self._told("download", path):
            self._client.download_file(bucket, key, local, Config=_transfer(None))

    def files(self, directory: str) -> Iterator[Entry]:
        """Every object with this prefix and a slash."""
        bucket, prefix = _split(directory, directory=True)
        with self._told("list", directory):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    name = found["Key"][len(prefix) :]
                    # Consoles leave an empty object named like the directory.
                    if name and not name.endswith("/"):
                        yield Entry(name, found["Size"])

    def directories(self, directory: str) -> list[str]:
        """Common prefixes right below."""
        bucket, prefix = _split(directory, directory=True)
        names: list[str] = []
        with self._told("list", directory):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            for page in pages:
                names += [common["Prefix"][len(prefix) : -1] for common in page.get("CommonPrefixes", [])]
        return sorted(names)

    def size(self, path: str) -> int | None:
        """By HEAD."""
        bucket, key = _split(path)
        try:
            with self._told("read", path):
                return self._client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except StorageNotFoundError:
            return None

    def delete(self, path: str) -> None:
        """DELETE; a missing key is fine on S3."""
        bucket, key = _split(path)
        with self._told("delete", path):
            self._client.delete_object(Bucket=bucket, Key=key)

    def delete_directory(self, directory: str) -> None:
        """Delete what lies below, a thousand keys a request."""
        bucket, prefix = _split(directory, directory=True)
        keys = [prefix + entry.name for entry in self.files(directory)]
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            with self._told("delete", directory):
                answer = self._client.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            if errors := answer.get("Errors"):
                first = errors[0]
                raise StorageError(f"cannot delete s3://{bucket}/{first.get('Key')}: {first.get('Message')}")

    @property
    def _client(self) -> S3Client:
        with self._lock:
            if self._made is None:
                self._made = _make_client(self.options)
            return self._made

    def _told(self, action: str, path: str) -> _s3_errors.Translated:
        return _s3_errors.Translated(action, path, self.options)

    def _create_bucket(self, bucket: str) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client.create_bucket(Bucket=bucket)
        except ClientError as e:
            if e.response.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


def _make_client(options: S3Options) -> S3Client:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as e:
        raise StorageError('s3:// storage needs boto3: pip install "paceline[s3]"') from e
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    own_endpoint = bool(options.endpoint_url or named)
    settings: dict[str, Any] = {
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "max_attempts": 5},
        "max_pool_connections": 64,
    }
    if own_endpoint:
        # Many S3-compatible servers know neither bucket host names nor the newer trailing checksums.
        settings |= {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and own_endpoint:
        region = "us-east-1"
    session = boto3.session.Session()
    return session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=Config(**settings))


def _transfer(size_bytes: int | None) -> Any:
    from boto3.s3.transfer import TransferConfig

    threshold = 16 * _MIB
    return TransferConfig(
        multipart_threshold=threshold,
        multipart_chunksize=16 * _MIB,
        max_concurrency=10,
        # Threads for one small file cost more than they give; several files go in parallel anyway.
        use_threads=size_bytes is None or size_bytes >= threshold,
        preferred_transfer_client="classic",
    )


def _split(path: str, *, directory: bool = False) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    if directory and key and not key.endswith("/"):
        key += "/"
    return bucket, key
