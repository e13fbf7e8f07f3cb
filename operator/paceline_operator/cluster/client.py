"""Requests to the API server: bytes in, bytes out, with retries where a retry is safe and useful."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import msgspec

from paceline_operator.cluster.access import USER_AGENT, Access

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# Of a list of objects their metadata alone.
METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
REQUEST_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
# The exec plugin or the token file is asked again after this time; kubelet renews tokens at 80 % of an hour.
TOKEN_FRESH_S = 60.0
# A TLS connection holds a quarter of a megabyte of buffers.
MAX_CONNECTIONS = 64
RETRIES = 4
MAX_RETRY_AFTER_S = 30.0
THROTTLED = 429

Observer: TypeAlias = Callable[[str, int, float], None]


class ApiError(Exception):
    """The API server refused.

    Attributes:
        code: The HTTP status.
        reason: The server's own word, such as AlreadyExists.
        message: Its sentence.
        name: Of the object that it speaks of. A 404 that names none is about the path: that kind is not served.
        retry_after_s: After how many seconds it wants to be asked again.
    """

    def __init__(
        self, code: int, reason: str, message: str, retry_after_s: float | None = None, *, name: str = ""
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.name = name
        self.retry_after_s = retry_after_s


class UnreachableError(Exception):
    """No answer: the request may or may not have been carried out."""


class Details(msgspec.Struct):
    """metav1.StatusDetails, as far as they are read."""

    name: str | None = None


class Status(msgspec.Struct):
    """metav1.Status, as far as it is read."""

    reason: str | None = None
    message: str | None = None
    details: Details | None = None


_status = msgspec.json.Decoder(Status)


class Client:
    """One session to one API server."""

    def __init__(self, access: Access, *, observe: Observer | None = None) -> None:
        self._access = access
        self._observe: Observer = observe or (lambda verb, code, seconds: None)
        # Looked up once: aiohttp's trust_env reads the environment and .netrc for each request, in a thread.
        self._proxy = access.proxy
        self._session: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._authorization: str | None = None
        self._authorized_at = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def access(self) -> Access:
        """How the cluster is reached."""
        return self._access

    async def __aenter__(self) -> Client:
        tls: ssl.SSLContext | bool = await asyncio.to_thread(self._access.tls)
        self._session = self._new_session(aiohttp.TCPConnector(ssl=tls, limit=MAX_CONNECTIONS, keepalive_timeout=60))
        # Watches hold their connections for good: from a common limit they would take them from the requests.
        self._watches = self._new_session(aiohttp.TCPConnector(ssl=tls, limit=0))
        return self

    def _new_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": USER_AGENT, "Accept": JSON, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._proxy,
        )

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._watches):
            if session is not None:
                await session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
        accept: str | None = None,
    ) -> bytes:
        """Send one request and return the body of the answer.

        Throttled requests (429) are sent again after the time that the server names: it has not carried them out.

        Raises:
            ApiError: An answer of 400 or above.
            UnreachableError: No answer.
        """
        for attempt in range(RETRIES + 1):
            try:
                return await self._send(method, path, body, params, content_type, timeout_s, accept)
            except ApiError as error:  # noqa: PERF203
                if error.code != THROTTLED or attempt == RETRIES:
                    raise
                await asyncio.sleep(min(error.retry_after_s or 1.0, MAX_RETRY_AFTER_S))
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        params: Mapping[str, str] | None,
        content_type: str,
        timeout_s: float | None,
        accept: str | None,
    ) -> bytes:
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        if authorization := await self._authorize():
            headers["Authorization"] = authorization
        timeout = aiohttp.ClientTimeout(total=timeout_s) if timeout_s else None
        began = time.perf_counter()
        code = 0
        try:
            async with self._opened(self._session).request(
                method, self._access.server + path, data=body, params=params, headers=headers, timeout=timeout
            ) as response:
                code = response.status
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(f"{method} {path}: {type(error).__name__} {error}") from error
        finally:
            self._observe(method, code, time.perf_counter() - began)
        if code >= 400:
            raise _error(code, answer, response.headers.get("Retry-After"))
        return answer

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch; yields its lines. Ends with UnreachableError when nothing comes for `silence_s`.

        Raises:
            ApiError: The watch was refused.
            UnreachableError: No answer, or the connection broke.
        """
        headers = {}
        if authorization := await self._authorize():
            headers["Authorization"] = authorization
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s)
        try:
            async with self._opened(self._watches).get(
                self._access.server + path, params=params, headers=headers, timeout=timeout
            ) as response:
                self._observe("WATCH", response.status, 0.0)
                if response.status >= 400:
                    raise _error(response.status, await response.read(), response.headers.get("Retry-After"))
                yield _lines(response.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(f"watch {path}: {type(error).__name__} {error}") from error

    async def get_json(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the decoded answer to a GET. Raises as `request`."""
        return msgspec.json.decode(await self.request("GET", path, params=params))

    async def _authorize(self) -> str | None:
        if not self._access.has_token and not self._access.configuration.username:
            return None
        if time.monotonic() - self._authorized_at > TOKEN_FRESH_S:
            async with self._lock:
                if time.monotonic() - self._authorized_at > TOKEN_FRESH_S:
                    self._authorization = await asyncio.to_thread(self._access.authorization)
                    self._authorized_at = time.monotonic()
        return self._authorization

    def _opened(self, session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
        if session is None:
            raise RuntimeError("the client is not open: use `async with Client(...)`")
        return session


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream into lines of any length: StreamReader's own refuses those beyond its buffer."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _error(code: int, answer: bytes, retry_after: str | None) -> ApiError:
    try:
        status = _status.decode(answer)
    except msgspec.DecodeError:
        status = Status(message=answer[:500].decode(errors="replace"))
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    name = status.details.name if status.details else None
    return ApiError(code, status.reason or "", status.message or "", wait, name=name or "")
