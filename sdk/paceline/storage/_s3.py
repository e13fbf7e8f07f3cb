"""S3 and what speaks like it: botocore for everything but the bytes of files, which `_s3_objects` moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from paceline.storage import _s3_errors
from paceline.storage._base import Entry, probe
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._process import PerProcess
from paceline.storage._s3_client import Access
from paceline.storage._s3_objects import Objects
from paceline.storage._s3_options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_DELETE_BATCH = 1000  # the most that DeleteObjects takes
_CREATE_TRIES = 5
# Of one request, where the caller does not say: callers that must not fail repeat the whole call.
_PATIENCE_S = 10.0


class S3Storage:
    """A client for one endpoint. A path is `bucket/key`."""

    scheme = "s3"
    exclusive = True

    def __init__(self, options: S3Options | None = None) -> None:
        self.options = options or S3Options()
        self._access = PerProcess(lambda: Access(self.options))

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
                    # A retry inside botocore meets its own first try, whose answer was lost.
                    return self.read(path) == data
                except StorageNotFoundError:
                    if not e.conflict:
                        raise
            else:
                return True
        raise StorageError(f"cannot create s3://{path}: other writers keep interfering", retryable=True)

    def put_file(self, local: str, path: str) -> None:
        """Upload; large files in parallel parts."""
        from paceline.storage import transfer

        try:
            transfer.put_file(self, local, path, patience_s=_PATIENCE_S)
        except OSError as e:
            raise StorageError(f"cannot read {local}: {e.strerror or e}") from e

    def get_file(self, path: str, local: str) -> None:
        """Download; large objects in parallel ranges. Appears under its name when it is whole."""
        from paceline.storage import transfer

        transfer.get_file(self, path, local, patience_s=_PATIENCE_S)

    def objects(self, path: str) -> tuple[Objects, str]:
        """What moves the bytes of the object at `path`, and its key."""
        bucket, key = _split(path)
        with self._told("reach", bucket):
            return self._access.get().objects(bucket), key

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
        return self._access.get().client

    def _told(self, action: str, path: str) -> _s3_errors.Translated:
        return _s3_errors.Translated(action, path, self.options)

    def _create_bucket(self, bucket: str) -> None:
        from botocore.exceptions import ClientError

        try:
            self._client.create_bucket(Bucket=bucket)
        except ClientError as e:
            if e.response.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


def _split(path: str, *, directory: bool = False) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    if directory and key and not key.endswith("/"):
        key += "/"
    return bucket, key
