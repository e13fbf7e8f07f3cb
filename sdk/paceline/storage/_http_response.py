"""Answers of HTTP/1.1 with less CPU than the standard library takes for each.

Its response reads the head with the parser of e-mails, which takes a third of the CPU of a small download, and from a
buffer of 8 KiB. Here a head is lines, and an answer of some ten kB comes with one call of the kernel. Bodies (lengths,
chunks) stay with the standard library.
"""

from __future__ import annotations

import http.client
import socket
from http import HTTPStatus
from typing import Any, BinaryIO, overload

_BUFFER = 64 * 1024
_LINE = 64 * 1024
_LINES = 200


class Headers:
    """By name in any case. What came several times is joined by commas."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value, or `default`."""
        return self._values.get(name.lower(), default)

    def add(self, name: str, value: str) -> None:
        """One line of a head."""
        name, value = name.lower(), value.strip()
        before = self._values.get(name)
        self._values[name] = value if before is None else f"{before}, {value}"


class Response(http.client.HTTPResponse):
    """Call `begin` before anything else, as with its base."""

    headers: Headers  # type: ignore[assignment]

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(_Wide(sock), method=method)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.HTTPException: It is none.
            OSError: The connection failed.
        """
        status = HTTPStatus.CONTINUE.value
        while status == HTTPStatus.CONTINUE:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            headers = _read_headers(self.fp)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = headers  # type: ignore[assignment]
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        self.length = self._length()
        if not self.will_close and not self.chunked and self.length is None:
            self.will_close = True

    def _length(self) -> int | None:
        if self.status in (204, 304) or self.status < 200 or self._method == "HEAD":  # type: ignore[attr-defined]
            return 0
        told = self.headers.get("content-length", "")
        return int(told) if told.isdecimal() and not self.chunked else None


class _Wide:
    """A socket whose files have a buffer into which a small answer goes as a whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> Any:
        return self._sock.makefile("rb", _BUFFER)


def _read_headers(file: BinaryIO) -> Headers:
    headers = Headers()
    for _ in range(_LINES):
        line = file.readline(_LINE + 1)
        if len(line) > _LINE:
            raise http.client.LineTooLong("header line")
        if line in (b"\r\n", b"\n"):
            return headers
        if not line:
            raise http.client.IncompleteRead(b"")
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            headers.add(name, value)
    raise http.client.HTTPException(f"got more than {_LINES} headers")
