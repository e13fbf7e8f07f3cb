"""Google Cloud Storage by gcsfs.

gcsfs runs one event loop thread; calls from any thread block on it, so many may be on their way at once. The plain
`gcsfs.core.GCSFileSystem` is used: the class that the package exports asks another service about each bucket first,
which takes a minute where that service does not answer.
"""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paceline.storage._errors import StorageError, WaysOut, missing_package
from paceline.storage._gcs_objects import GcsObjects
from paceline.storage._gcs_options import GcsOptions
from paceline.storage._process import PerProcess
from paceline.storage._tree import TreeStorage

_MIB = 1024 * 1024
_SMALL = 8 * _MIB  # one request; what is larger goes in chunks, each retried alone
_CHUNK = 16 * _MIB
_LARGE_AT_ONCE = 6  # x _CHUNK is the memory that uploads take
_TRIES = 3
_SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_WAYS = WaysOut(
    credentials="set GOOGLE_APPLICATION_CREDENTIALS to a key file (spec.credentials), use a service account with"
    " workload identity, or add ?anonymous=true to the storage path of a server that asks for none",
    permission="give the service account the role Storage Object Admin (roles/storage.objectAdmin) on the bucket",
    container="create the bucket, correct the storage path, or add ?allow_bucket_creation=true&project=<project> to it",
    address="check endpoint_override in the storage path, and that this machine reaches it",
)


class GcsStorage(TreeStorage):
    """A path is `bucket/name`."""

    def __init__(self, options: GcsOptions | None = None, filesystem: Any = None) -> None:
        self.options = options or GcsOptions()
        self._tree = GcsTree(self.options, filesystem)
        super().__init__(self._tree)

    def objects(self, path: str) -> GcsObjects | None:
        """What moves the bytes of the object at `path`; None where the filesystem object that was given has settings
        that gcsfs alone follows.

        Raises:
            StorageError: No credentials were found.
        """
        with self._told("reach", path):
            return self._tree.objects


class GcsTree:
    """Objects appear whole, and a put can ask for the absence of the name (generation 0)."""

    scheme = "gs"
    exclusive = True
    renames = False
    ways = _WAYS

    def __init__(self, options: GcsOptions, given: Any = None) -> None:
        self.options = options
        self.given = given
        self._made = PerProcess(lambda: _make(options) if given is None else _renew(given))
        self._large = PerProcess(lambda: threading.BoundedSemaphore(_LARGE_AT_ONCE))
        self._objects = PerProcess(lambda: _objects(self.filesystem))

    @property
    def objects(self) -> GcsObjects | None:
        """As `GcsStorage.objects`."""
        return self._objects.get()

    @property
    def filesystem(self) -> Any:
        """The gcsfs object of this process."""
        return self._made.get()

    def uri(self, path: str) -> str:
        """With scheme and options, or the path of the object that was given."""
        return path if self.given is not None else self.options.uri(path)

    def prepare(self, path: str) -> None:
        """Create the bucket, where the URI allows it."""
        if not self.options.allow_bucket_creation:
            return
        bucket = path.partition("/")[0]
        try:
            self.filesystem.call("GET", f"{self.filesystem.base}b/{bucket}")
        except FileNotFoundError:
            try:
                self.filesystem.mkdir(bucket)
            except Exception as e:
                if getattr(e, "code", None) != 409:  # another worker was faster
                    raise

    def make_directory(self, path: str) -> None:
        """There are none."""

    def put_bytes(self, path: str, data: bytes) -> None:
        """One request."""
        self._upload(path, data, {})

    def put_new(self, path: str, data: bytes) -> None:
        """One request, under a condition."""
        self._upload(path, data, {"ifGenerationMatch": "0"})

    def put_file(self, local: str, path: str) -> None:
        """A resumable upload when large."""
        if os.path.getsize(local) <= _SMALL:  # noqa: PTH202
            self._upload(path, Path(local).read_bytes(), {})
            return
        with self._large.get():
            self.filesystem.put_file(
                local, path, chunksize=_CHUNK, consistency="size", content_type="application/octet-stream"
            )

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Not asked of it."""
        raise NotImplementedError

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        """A GET, of a range where one is asked for."""
        if start == 0 and end is None:
            return bytes(self.filesystem.cat_file(path, concurrency=1))
        try:
            return bytes(self.filesystem.cat_file(path, start=start, end=end, concurrency=1))
        except Exception as e:
            if getattr(e, "code", None) == 416:  # starts at or behind the end
                return b""
            raise

    def get_file(self, path: str, local: str) -> None:
        """One stream; gcsfs's concurrent one would hold some hundred MB per file."""
        self.filesystem.get_file(path, local, concurrency=1)

    def size(self, path: str) -> int | None:
        """From the object's metadata."""
        self.filesystem.invalidate_cache()
        bucket, _, name = path.partition("/")
        try:
            found = self.filesystem.call("GET", "b/{}/o/{}", bucket, name, json_out=True, fields="size")
        except FileNotFoundError:
            return None
        return int(found["size"])

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """A flat listing, without the empty objects that consoles leave for what they show as folders."""
        if (objects := self.objects) is not None:
            yield from (found for found in objects.find(directory) if not found[0].endswith("/"))
            return
        self.filesystem.invalidate_cache()
        found = self.filesystem.find(directory, detail=True, update_cache=False)
        for path, about in found.items():
            if about["type"] == "file" and not path.endswith("/"):
                yield path, int(about["size"])

    def directories(self, directory: str) -> list[str]:
        """Common prefixes."""
        self.filesystem.invalidate_cache()
        listed = self.filesystem.ls(directory, detail=True)
        names = [about["name"].rstrip("/") for about in listed if about["type"] == "directory"]
        return [name.rpartition("/")[2] for name in names if name != directory]

    def remove(self, path: str) -> None:
        """DELETE."""
        self.filesystem.rm_file(path)

    def remove_tree(self, directory: str) -> bool:
        """Object by object: gcsfs's own reads `*` and `[` in names as patterns."""
        return False

    def _upload(self, path: str, data: bytes, condition: dict[str, str]) -> None:
        # Not gcsfs's own small upload: its fixed boundary ends a file early that happens to contain it.
        filesystem = self.filesystem
        bucket, _, name = path.partition("/")
        stored = filesystem.call(
            "POST",
            f"{filesystem.base.replace('/storage/v1/', '/upload/storage/v1/')}b/{bucket}/o",
            uploadType="media",
            name=name,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(len(data))},
            data=data,
            json_out=True,
            **condition,
        )
        wanted = {"size": str(len(data)), "crc32c": _crc32c(data)}
        came = {key: str(stored.get(key, wanted[key])) for key in wanted}
        if came != wanted:
            self.remove(path)
            raise StorageError(f"{self.uri(path)} was stored as {came} instead of {wanted}", retryable=True)


def _make(options: GcsOptions) -> Any:
    try:
        import aiohttp
        import google.auth
        from gcsfs.core import GCSFileSystem
        from gcsfs.retry import retry_request
    except ImportError as e:
        raise missing_package("gs://", "gcsfs", "gcs") from e

    class Gcs(GCSFileSystem):  # type: ignore[misc]
        # Its own six tries take half a minute, and log a traceback for each; whoever calls us has a patience and a log.
        _request = retry_request(retries=_TRIES)(GCSFileSystem._request.__wrapped__)

    log = logging.getLogger("gcsfs")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    credentials: Any = "anon"
    project = options.project or None
    if not options.anonymous:
        # Found here and not by gcsfs, which would go on without any when it finds none.
        credentials, found = google.auth.default(scopes=[_SCOPE])
        project = project or found
    return Gcs(
        **({"project": project} if project else {}),
        token=credentials,
        endpoint_url=options.endpoint_url,
        requests_timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60),
        consistency="size",
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _objects(filesystem: Any) -> GcsObjects | None:
    own = ("session_kwargs", "requester_pays", "_use_client_cert")
    if any(getattr(filesystem, name, None) for name in own):
        return None
    return GcsObjects(filesystem.base.removesuffix("/storage/v1/"), filesystem.credentials.apply, _WAYS)


def _renew(given: Any) -> Any:
    # The object's event loop lives in the process that made it.
    if given._pid == os.getpid():
        return given
    return type(given)(*given.storage_args, **{**given.storage_options, "skip_instance_cache": True})


def _crc32c(data: bytes) -> str:
    import google_crc32c  # comes with gcsfs

    return base64.b64encode(int(google_crc32c.value(data)).to_bytes(4, "big")).decode()
