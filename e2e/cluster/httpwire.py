"""HTTP/1.1 as it goes over the wire: heads as they came, bodies piece by piece, nothing changed or decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

PIECE_BYTES = 64 * 1024
HEAD_LIMIT_BYTES = 256 * 1024


class BrokenOffError(ConnectionError):
    """The other side ended in the middle of a message."""


@dataclass(frozen=True, slots=True)
class Head:
    """First line and headers of a request or an answer. `raw` is what came, to the empty line."""

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first[1])

    @property
    def keeps_connection(self) -> bool:
        """Whether its sender wants the connection to stay open."""
        version = self.first[0] if self.first[0].startswith("HTTP/") else self.first[2]
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish and (version == "HTTP/1.1" or "keep-alive" in wish)

    def with_header(self, name: str, value: str) -> Head:
        """The same with one header's value replaced."""
        lines = self.raw.split(b"\r\n")
        for number, line in enumerate(lines[1:], start=1):
            if line.partition(b":")[0].strip().lower() == name.encode():
                lines[number] = f"{line.partition(b':')[0].decode('latin-1')}: {value}".encode("latin-1")
        return Head(b"\r\n".join(lines), self.first, {**self.headers, name: value})


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None when the other side has ended between two messages."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial.strip():
            return None
        raise BrokenOffError("ended inside a head") from error
    lines = raw.decode("latin-1").lstrip("\r\n").split("\r\n")
    first = [*lines[0].split(" ", 2), "", ""]
    pairs = (line.partition(":") for line in lines[1:] if line)
    return Head(raw, (first[0], first[1], first[2]), {name.strip().lower(): value.strip() for name, _, value in pairs})


def request_length(head: Head) -> int | None:
    """Bytes of a request's body; None: in chunks."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return None
    return int(head.headers.get("content-length") or 0)


def answer_length(head: Head, method: str) -> int | None:
    """Bytes of an answer's body; None: in chunks, or until the end of the connection."""
    if method == "HEAD" or head.status < 200 or head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return 0
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return None
    length = head.headers.get("content-length")
    return int(length) if length is not None else None


async def body(reader: asyncio.StreamReader, head: Head, length: int | None) -> AsyncIterator[bytes]:
    """A message's body as it goes over the wire, in pieces of at most 64 KiB; chunk sizes and trailers included."""
    if length is not None:
        async for piece in _exactly(reader, length):
            yield piece
    elif "chunked" in head.headers.get("transfer-encoding", "").lower():
        async for piece in _chunks(reader):
            yield piece
    else:
        while piece := await reader.read(PIECE_BYTES):
            yield piece


async def _exactly(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length > 0:
        piece = await reader.read(min(PIECE_BYTES, length))
        if not piece:
            raise BrokenOffError(f"ended {length} bytes before the end of a body")
        length -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        line = await _line(reader)
        yield line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        async for piece in _exactly(reader, size + 2):
            yield piece
    while True:  # trailers, and the empty line after them
        line = await _line(reader)
        yield line
        if line == b"\r\n":
            return


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise BrokenOffError("ended inside a chunked body")
    return line
