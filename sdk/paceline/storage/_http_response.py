"""Answers of HTTP/1.1 with less CPU than the standard library takes for each.

Its response reads the head with the parser of e-mails, line by line from a file around the socket. Here one call of the
kernel brings the head and, where it is small, the body with it.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import overload

_BUFFER = 64 * 1024
_PIECE = 1024 * 1024  # of a body at once
_RECORD = 16 * 1024  # the most that TLS gives at once: room for more is only made and thrown away
_HEAD = 64 * 1024
_HEADERS = 200
_LINE = 1024  # that tells the size of a chunk, or a trailer
_EMPTY_LINE = re.compile(rb"\n\r?\n")


class Headers:
    """By name in any case. What came several times is joined by commas."""

    def __init__(self, lines: list[str]) -> None:
        self._values: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                name, value = name.lower(), value.strip()
                before = self._values.get(name)
                self._values[name] = value if before is None else f"{before}, {value}"

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value, or `default`."""
        return self._values.get(name.lower(), default)


class Response:
    """One answer; making it reads its head.

    Attributes:
        last: No other answer can come on its connection.

    Raises:
        http.client.HTTPException: It is none.
        OSError: The connection failed.
    """

    def __init__(self, sock: socket.socket, method: str) -> None:
        self._sock = sock
        self._most = _RECORD if isinstance(sock, ssl.SSLSocket) else _PIECE
        self._have = b""  # what came and was not given yet
        self.status = int(HTTPStatus.CONTINUE)
        while self.status == HTTPStatus.CONTINUE:
            first, *lines = self._head()
            version, self.status = _status(first)
        self.headers = Headers(lines)
        connection = self.headers.get("connection", "").lower()
        self.last = "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection)
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self._left: int | None = None  # until the connection ends
        if method == "HEAD" or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED) or self.status < 200:
            self._left, self._chunked = 0, False
        elif not self._chunked:
            told = self.headers.get("content-length", "")
            self._left = int(told) if told.isdecimal() else None
            self.last = self.last or self._left is None

    def read(self) -> bytes:
        """The whole body.

        Raises:
            http.client.HTTPException: It ended early.
            OSError: The connection failed.
        """
        pieces: list[bytes] = []
        self.pour(pieces.append)
        return b"".join(pieces)

    def pour(self, sink: Callable[[bytes], None]) -> None:
        """Give the body to `sink` in pieces; raises as `read`, and what `sink` raises."""
        if self._chunked:
            while size := self._chunk():
                self._give(size, sink)
                self._line()
            while self._line().strip():  # trailers
                pass
        else:
            self._give(self._left, sink)

    def _give(self, left: int | None, sink: Callable[[bytes], None]) -> None:
        while left is None or left > 0:
            most = self._most if left is None else min(self._most, left)
            if self._have:
                piece, self._have = self._have[:most], self._have[most:]
            else:
                piece = self._sock.recv(most)
            if not piece:
                break
            sink(piece)
            if left is not None:
                left -= len(piece)
        if left:
            raise http.client.HTTPException(f"the answer ended {left} bytes early")

    def _chunk(self) -> int:
        line = self._line()
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            raise http.client.HTTPException("the answer ended early, or in what is no chunk") from None

    def _line(self) -> bytes:
        while b"\n" not in self._have and len(self._have) < _LINE and (data := self._sock.recv(_BUFFER)):
            self._have += data
        line, _, self._have = self._have.partition(b"\n")
        return line

    def _head(self) -> list[str]:
        while (end := _EMPTY_LINE.search(self._have, 0, _HEAD)) is None:
            if len(self._have) >= _HEAD:
                raise http.client.HTTPException(f"got a head of more than {_HEAD} bytes")
            data = self._sock.recv(_BUFFER)
            if not data and not self._have:
                raise http.client.RemoteDisconnected("the connection was closed without an answer")
            if not data:
                raise http.client.HTTPException("the connection was closed in the head of the answer")
            self._have += data
        lines = self._have[: end.start()].decode("latin-1").split("\n")
        self._have = self._have[end.end() :]
        if len(lines) > _HEADERS:
            raise http.client.HTTPException(f"got more than {_HEADERS} headers")
        return lines


def _status(line: str) -> tuple[str, int]:
    version, status, *_ = [*line.split(None, 2), "", ""]
    if not version.startswith("HTTP/") or not status.isdecimal() or not 100 <= int(status) <= 999:
        raise http.client.BadStatusLine(line[:100])
    return version, int(status)
