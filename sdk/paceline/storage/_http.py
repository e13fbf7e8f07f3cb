"""HTTP for the bytes of objects: kept-alive connections, bodies straight from a file, answers straight into one.

The standard library's client underneath; botocore's layers cost 1-2 ms of CPU for each request and copy every body
(docs/design/0006).
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from paceline.storage._errors import StorageError
from paceline.storage._http_response import Headers, Response
from paceline.storage.checksum import Kind

CONNECT_TIMEOUT_S = 10.0
# Of silence, not of the whole request.
READ_TIMEOUT_S = 60.0
CHUNK = 256 * 1024
_IDLE_CONNECTIONS = 64

Sink = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of an open file as the body of a request."""

    file: BinaryIO  # unbuffered; its position is not used
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Body:
    """A slice of a file and the sum of it."""

    slice: Slice
    sum: int


def summed(file: BinaryIO, offset: int, length: int, *, of: int, kind: Kind) -> Body:
    """Read a slice for its sum; the page cache has it when it is sent.

    Args:
        of: Bytes that the whole file must have.
    Raises:
        StorageError: It has another size by now.
    """
    part = Slice(file, offset, length)
    value, found = 0, 0
    for data in chunks(part):
        value = kind.extend(data, value)
        found += len(data)
    if found != length or os.fstat(file.fileno()).st_size != of:
        raise StorageError(f"{file.name} changed its size while it was being stored")
    return Body(part, value)


def chunks(part: Slice) -> Iterator[bytes]:
    """The bytes of a slice in pieces; fewer where the file is shorter."""
    offset, end = part.offset, part.offset + part.length
    while offset < end:
        data = os.pread(part.file.fileno(), min(CHUNK, end - offset), offset)
        if not data:
            return
        yield data
        offset += len(data)


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go: `scheme://host[:port]`, perhaps by a proxy."""

    secure: bool
    host: str
    port: int | None
    proxy: str = field(default="", repr=False)  # URL; may carry user:password
    ca_bundle: str = ""  # file with the certificates to trust; empty: the system's
    trust: str = ""  # what to do about a certificate that is not trusted

    @property
    def host_header(self) -> str:
        """Host and, where it is not the usual one, port."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port in (None, 443 if self.secure else 80) else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers; `body` is empty where it went into the sink."""

    status: int
    headers: Headers
    body: bytes = field(repr=False, default=b"")


class NoAnswerError(Exception):
    """The connection failed; the store may or may not have done what it was asked."""


class Connections:
    """To one address, kept between requests and shared by threads; each is used by one at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._tls = ssl.create_default_context(cafile=address.ca_bundle or None) if address.secure else None

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Slice = b"",
        sink: Sink | None = None,
    ) -> Answer:
        """One request and its answer; a body of a 2xx answer goes to `sink` in pieces, where one is given.

        Raises:
            NoAnswerError: The connection failed before the answer was complete.
            StorageError: The file of the body became shorter.
        """
        while True:
            connection, used_before = self._take()
            try:
                answer = self._exchange(connection, method, target, headers, body, sink)
            except (OSError, http.client.HTTPException) as e:
                connection.close()
                # A server may close an idle connection just when we write to it: nothing was asked of it then.
                if used_before and isinstance(e, ConnectionError) and not isinstance(e, _BrokenBodyError):
                    continue
                if isinstance(e, ssl.SSLCertVerificationError):
                    raise _distrusted(self._address, e) from e
                raise NoAnswerError(_words(e)) from e
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)
            return answer

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Slice,
        sink: Sink | None,
    ) -> Answer:
        length = body.length if isinstance(body, Slice) else len(body)
        head = [f"{method} {self._line(target)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if length or method in ("PUT", "POST"):
            head.append(f"content-length: {length}")
        if self._address.proxy and not self._address.secure and (login := _proxy_login(self._address.proxy)):
            head.append(f"proxy-authorization: {login}")
        broken: OSError | None = None
        try:
            connection.sock.sendall(_encoded(head) + (body if isinstance(body, bytes) else b""))
            if isinstance(body, Slice):
                _send(connection, body)
        except ConnectionError as e:
            # A store that refuses answers at once and closes: its words are worth more than "broken pipe".
            broken = e
        try:
            response = Response(connection.sock, method)
        except (OSError, http.client.HTTPException) as e:
            raise broken or e from None
        try:
            if sink is None or not 200 <= response.status < 300:
                answer = Answer(response.status, response.headers, response.read())
            else:
                response.pour(sink)
                answer = Answer(response.status, response.headers)
        except ConnectionError as e:
            raise _BrokenBodyError(_words(e)) from e
        if broken is not None or response.last:
            connection.close()
        return answer

    def _line(self, target: str) -> str:
        by_proxy = self._address.proxy and not self._address.secure
        return f"http://{self._address.host_header}{target}" if by_proxy else target

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return self._connect(), False

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is None:
            return
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        address = self._address
        host, port = address.host, address.port
        if address.proxy:
            proxy = urlsplit(address.proxy if "://" in address.proxy else f"http://{address.proxy}")
            host, port = proxy.hostname or "", proxy.port or 80
        connection: http.client.HTTPConnection
        try:
            if self._tls is not None:
                connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
                if address.proxy:
                    login = _proxy_login(address.proxy)
                    connection.set_tunnel(
                        address.host, address.port or 443, {"Proxy-Authorization": login} if login else {}
                    )
            else:
                connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
            connection.connect()
        except ssl.SSLCertVerificationError as e:
            raise _distrusted(address, e) from e
        except (OSError, http.client.HTTPException) as e:
            raise NoAnswerError(f"cannot connect to {address.host_header}: {_words(e)}") from e
        connection.sock.settimeout(READ_TIMEOUT_S)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class _BrokenBodyError(ConnectionError):
    """An answer ended in its middle: some of it has been used, so nothing may be repeated here."""


def _distrusted(address: Address, error: ssl.SSLCertVerificationError) -> StorageError:
    way_out = f"; {address.trust}" if address.trust else ""
    return StorageError(f"the certificate of {address.host_header} is not trusted: {error.verify_message}{way_out}")


def _encoded(head: list[str]) -> bytes:
    text = "\r\n".join(head)
    if not text.count("\r") == text.count("\n") == len(head) - 1:
        # A token from the environment with the line's end still on it.
        raise StorageError("a header of the request holds a line break: look at the credentials in the environment")
    return f"{text}\r\n\r\n".encode("latin-1")


def _send(connection: http.client.HTTPConnection, body: Slice) -> None:
    if isinstance(connection.sock, ssl.SSLSocket):
        sent = 0
        for data in chunks(body):
            connection.sock.sendall(data)
            sent += len(data)
    else:
        # From the page cache to the socket inside the kernel.
        sent = connection.sock.sendfile(body.file, body.offset, body.length) if body.length else 0
    if sent != body.length:
        raise StorageError(f"{body.file.name} became shorter while it was being stored")


def _proxy_login(proxy: str) -> str:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not parts.username:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(pair.encode()).decode()


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
