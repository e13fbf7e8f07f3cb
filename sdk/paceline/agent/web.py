"""A small HTTP/1.1 server and client on asyncio: JSON in, JSON or text out, one request a connection.

The agent runs inside any image, so it brings no web framework. Requests are bounded in size and time.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_HEAD_BYTES = 16 * 1024
_BODY_BYTES = 64 * 1024 * 1024  # a beat names every file of a checkpoint
_READ_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route gives back."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"

    @classmethod
    def of(cls, told: Any, status: int = 200) -> Answer:
        """A JSON answer."""
        return cls(json.dumps(told).encode(), status)


Route = Callable[[bytes], Answer | Awaitable[Answer]]


class BadAnswerError(OSError):
    """The other side answered, but not with what was asked for."""


async def serve(routes: Mapping[tuple[str, str], Route], host: str | None, port: int) -> asyncio.Server:
    """Listen; `routes` maps (method, path) to a function that must not block.

    Raises:
        OSError: The port is taken.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await asyncio.wait_for(_answer(routes, reader), _READ_S)
            writer.write(_head(answer) + answer.body)
            await asyncio.wait_for(writer.drain(), _READ_S)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, ValueError):
            pass  # the client is gone, or speaks something else
        finally:
            writer.close()

    return await asyncio.start_server(handle, host, port, limit=_HEAD_BYTES)


async def post(host: str, port: int, path: str, told: Any, *, timeout_s: float) -> tuple[Any, str]:
    """POST JSON and return the JSON of a 200 answer, and the address that gave it.

    Raises:
        OSError: Not reachable, or in time; `socket.gaierror`: not resolvable; `BadAnswerError` for any other answer.
    """
    body = json.dumps(told).encode()
    head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return await _asked(host, port, head, body, timeout_s)


async def get(host: str, port: int, path: str, *, timeout_s: float) -> Any:
    """GET, and return the JSON of a 200 answer.

    Raises:
        OSError: As `post`.
    """
    return (await _asked(host, port, f"GET {path} HTTP/1.1\r\n", b"", timeout_s))[0]


async def _asked(host: str, port: int, head: str, body: bytes, timeout_s: float) -> tuple[Any, str]:
    try:
        return await asyncio.wait_for(_ask(host, port, head, body), timeout_s)
    except asyncio.TimeoutError:
        raise BadAnswerError(f"no answer within {timeout_s:g} s") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as e:
        raise BadAnswerError(f"not an agent's answer: {e}") from None


async def _ask(host: str, port: int, head: str, body: bytes) -> tuple[Any, str]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"{head}Host: {name}:{port}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        first, headers = await _read_head(reader)
        status = int(first.split(" ")[1])
        answer = await reader.readexactly(_length(headers))
        if status != HTTPStatus.OK:
            raise BadAnswerError(f"status {status}: {answer[:300].decode(errors='replace')}")
        return json.loads(answer), str(writer.get_extra_info("peername")[0])
    finally:
        writer.close()


async def _answer(routes: Mapping[tuple[str, str], Route], reader: asyncio.StreamReader) -> Answer:
    first, headers = await _read_head(reader)
    method, target, _ = (first + "  ").split(" ", 2)
    path = target.partition("?")[0]
    length = _length(headers)
    body = await reader.readexactly(length) if length else b""
    route = routes.get(("GET" if method == "HEAD" else method, path))
    if route is None:
        known = any(path == p for _, p in routes)
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
        return Answer.of({"error": f"{status.phrase}: {method} {path}"}, status)
    given = route(body)
    answer = await given if inspect.isawaitable(given) else given
    return Answer(b"", answer.status, answer.content_type) if method == "HEAD" else answer


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _length(headers: Mapping[str, str]) -> int:
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _BODY_BYTES:
        raise ValueError(f"a body of {length} bytes")
    return length


def _head(answer: Answer) -> bytes:
    status = HTTPStatus(answer.status)
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    ).encode()
