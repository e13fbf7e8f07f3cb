"""The requests of Google's JSON API that move the bytes of objects: media upload, ranged download and the listing.

Everything else stays with gcsfs (`_gcs.py`), whose single event loop copies every byte several times and asks for an
object's metadata where the answer to the upload has told it (docs/design/0006).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from paceline.storage import _tree_errors, checksum, retry
from paceline.storage._errors import StorageError, WaysOut
from paceline.storage._http import Address, Answer, Body, Connections, NoAnswerError, Sink, Slice

_PAGE = 1000  # names
# Of one page of a listing, where the caller does not say: about what gcsfs's own three tries take.
_PATIENCE_S = 5.0

Authorize = Callable[[dict[str, str]], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of an object; the sum is None where it tells none of ours."""

    generation: str
    sum: int | None


class GcsObjects:
    """Of one endpoint. Safe to use from several threads.

    Args:
        location: `https://storage.googleapis.com`, or another server's address.
        authorize: Adds what proves who we are to the headers of a request.
    """

    def __init__(self, location: str, authorize: Authorize, ways: WaysOut) -> None:
        where = urlsplit(location)
        self._prefix = where.path.rstrip("/")
        self._authorize = authorize
        self._ways = ways
        self._address = Address(
            secure=where.scheme == "https",
            host=where.hostname or "",
            port=where.port,
            trust="set SSL_CERT_FILE to a file with the authority's certificate",
        )
        self._host = self._address.host_header
        self._connections = Connections(self._address)
        self.kind = checksum.best()

    def put(self, path: str, body: Body) -> None:
        """Store an object in one request, and see that the store has what was sent.

        Raises:
            StorageError: It has something else, which is removed again.
        """
        query = _query({"uploadType": "media", "name": path.partition("/")[2]})
        answer = self._ask("upload", "POST", f"/upload{_bucket(path)}/o?{query}", path, body.slice)
        told = _json(answer)
        value = _decoded(str(told.get("crc32c", ""))) if self.kind.name == "crc32c" else None
        if str(told.get("size", body.slice.length)) == str(body.slice.length) and value in (None, body.sum):
            return
        with suppress(StorageError):
            # Only what we have stored, not what somebody else has put there since.
            condition = _query({"ifGenerationMatch": str(told.get("generation", ""))})
            self._ask("remove", "DELETE", f"{_bucket(path)}/o/{_name(path)}?{condition}", path)
        raise StorageError(
            f"gs://{path} was stored with {told.get('size')} bytes and CRC-32C {told.get('crc32c')} instead of"
            f" {body.slice.length} bytes of {self.kind.name} {checksum.text(body.sum)}",
            retryable=True,
        )

    def get(self, path: str, offset: int, length: int | None, sink: Sink) -> Stored:
        """Give the bytes from `offset` to `sink` as they come: `length` of them, None for the whole object.

        A failure in the middle leaves what came before with the sink.
        """
        headers = {} if length is None else {"range": f"bytes={offset}-{offset + length - 1}"}
        target = f"/download{_bucket(path)}/o/{_name(path)}?alt=media"
        answer = self._ask("download", "GET", target, path, headers=headers, sink=sink)
        if length is not None and answer.status != 206:
            raise StorageError(f"cannot download gs://{path}: the store ignores the Range of a request")
        sums = dict(part.strip().partition("=")[::2] for part in answer.headers.get("X-Goog-Hash", "").split(","))
        value = _decoded(sums.get("crc32c", "")) if self.kind.name == "crc32c" else None
        return Stored(answer.headers.get("X-Goog-Generation", ""), value)

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """Full path and bytes of each object below; none where there is no such bucket.

        Raises:
            StorageError: A page could not be had, after some tries.
        """
        bucket, _, prefix = directory.partition("/")
        query = {"fields": "kind,items(name,size),nextPageToken", "maxResults": str(_PAGE)}
        if prefix:
            query["prefix"] = f"{prefix}/"
        while True:
            target = f"{_bucket(directory)}/o?{_query(query)}"
            page = retry.call(partial(self._page, directory, target), patience_s=_PATIENCE_S)
            for item in page.get("items", []):
                yield f"{bucket}/{item['name']}", int(item["size"])
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token

    def _page(self, directory: str, target: str) -> dict[str, Any]:
        try:
            page = _json(self._ask("list", "GET", target, directory))
        except StorageError as e:
            if isinstance(e.__cause__, _RefusedError) and e.__cause__.code == HTTPStatus.NOT_FOUND:
                return {}
            raise
        if page.get("kind") != "storage#objects":
            # Something between that answers in the store's place: its silence must not look like an empty directory.
            raise StorageError(f"cannot list gs://{directory}: the answer is no listing", retryable=True)
        return page

    def _ask(
        self,
        action: str,
        method: str,
        target: str,
        path: str,
        body: bytes | Slice = b"",
        *,
        headers: Mapping[str, str] | None = None,
        sink: Sink | None = None,
    ) -> Answer:
        asked = {"host": self._host, **(headers or {})}
        if isinstance(body, Slice):
            asked["content-type"] = "application/octet-stream"
        try:
            self._authorize(asked)
            answer = self._connections.request(method, self._prefix + target, asked, body, sink)
        except StorageError:
            raise
        except NoAnswerError as e:
            raise StorageError(f"cannot {action} gs://{path}: {e} ({self._host})", retryable=True) from e
        except Exception as e:  # of Google's own library, for the credentials
            raise _tree_errors.told(f"cannot {action} gs://{path}", e, self._ways) from e
        if not 200 <= answer.status < 300:
            refused = _RefusedError(answer)
            writes = action == "upload"
            raise _tree_errors.told(f"cannot {action} gs://{path}", refused, self._ways, writes=writes) from refused
        return answer


class _RefusedError(Exception):
    """An answer that is not 2xx; `code` is its status."""

    def __init__(self, answer: Answer) -> None:
        self.code = answer.status
        found = _json(answer).get("error")
        said = found.get("message") if isinstance(found, dict) else found
        super().__init__(str(said or answer.body.decode(errors="replace") or f"HTTP status {answer.status}"))


def _bucket(path: str) -> str:
    return f"/storage/v1/b/{quote(path.partition('/')[0], safe='')}"


def _name(path: str) -> str:
    return quote(path.partition("/")[2], safe="")


def _query(query: Mapping[str, str]) -> str:
    return urlencode(query, quote_via=quote)


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(text: str) -> int | None:
    try:
        return int.from_bytes(b64decode(text, validate=True), "big") if text else None
    except ValueError:
        return None
