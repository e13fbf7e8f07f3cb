"""One request through the fault proxy, and its answer: forwarded byte by byte, with what befalls it on the way."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from e2e.cluster import faults, httpwire
from e2e.cluster.faults import Chosen
from e2e.cluster.httpwire import Head

# After an answer that came before the end of the request, the client may send the rest for so long.
_DRAIN_S = 2.0
# What a reset finds unsent in the kernel is lost; the client is to see the first part of a body that is cut.
_FLUSH_S = 0.05

Hook = Callable[[int, str, str], "bool | None"]


class AbortError(Exception):
    """Both connections are to be reset."""


@dataclass(slots=True)
class Wiring:
    """What all exchanges of a proxy share. `note` records what became of the request with this number."""

    target: tuple[str, int]
    redirects: Mapping[str, str]
    before_forward: Hook | None
    after_forward: Hook | None
    note: Callable[..., None]


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        wiring: Wiring,
        number: int,
        chosen: Chosen,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.wiring, self.number, self.chosen = wiring, number, chosen
        self.head, self.reader, self.writer = head, reader, writer
        self.method, self.path, _ = head.first

    async def run(self) -> bool:
        """Carry it out; returns whether the client's connection may be used again."""
        fatal = self.chosen.fatal
        await asyncio.sleep(self.chosen.latency_s)
        if isinstance(fatal, faults.Hang):
            await asyncio.Event().wait()
        if isinstance(fatal, faults.Reset):
            raise AbortError
        if isinstance(fatal, faults.Answer):
            return await self._answer(fatal)
        self._call(self.wiring.before_forward)
        connection = socket.socket()
        connection.setblocking(False)
        server_writer: asyncio.StreamWriter | None = None
        # A second handle for writing: a server that refuses early and ends breaks our writes, and a stream whose
        # write breaks forgets the answer that it has read.
        sink = connection.dup()
        try:
            await asyncio.get_running_loop().sock_connect(connection, self.wiring.target)
            self.wiring.note(self.number, forwarded=True)
            reader, server_writer = await asyncio.open_connection(sock=connection, limit=httpwire.HEAD_LIMIT_BYTES)
            reusable = await self._forward(reader, sink)
        except BaseException:
            abort_at_close(connection)
            raise
        finally:
            sink.close()
            if server_writer:
                server_writer.transport.abort()
            else:
                connection.close()
        return reusable

    async def _answer(self, answer: faults.Answer) -> bool:
        # A client that asked first whether to send its body does not send it after this answer.
        asked = "expect" in self.head.headers
        if not asked:
            async for _ in httpwire.body(self.reader, self.head, httpwire.request_length(self.head)):
                pass
        content = answer.body.encode()
        headers = {"Content-Length": str(len(content)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Fault", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.wiring.note(self.number, status=answer.status)
        self.writer.write("\r\n".join(lines).encode() + (b"" if self.method == "HEAD" else content))
        await self.writer.drain()
        return not asked and self.head.keeps_connection

    async def _forward(self, server_reader: asyncio.StreamReader, sink: socket.socket) -> bool:
        sending = asyncio.create_task(self._send(sink))
        receiving = asyncio.create_task(self._final_head(server_reader))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            answer = await receiving
            self._call(self.wiring.after_forward)
            fatal = self.chosen.fatal
            if isinstance(fatal, faults.LoseAnswer):
                async for _ in httpwire.body(server_reader, answer, httpwire.answer_length(answer, self.method)):
                    pass
                return await self._lose(fatal)
            await self._pass_on(answer, server_reader)
            if sending.done():
                sending.result()
            else:
                await self._drain(sending)
                return False
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        until_end = httpwire.answer_length(answer, self.method) is None and "transfer-encoding" not in answer.headers
        return not until_end and self.head.keeps_connection and answer.keeps_connection

    async def _send(self, sink: socket.socket) -> None:
        send = asyncio.get_running_loop().sock_sendall
        await send(sink, self.head.raw)
        length = httpwire.request_length(self.head)
        cut = self.chosen.fatal if isinstance(self.chosen.fatal, faults.CutRequest) else None
        sent, listening = 0, True
        async for piece in httpwire.body(self.reader, self.head, length):
            await self._pace(len(piece))
            kept = faults.kept_bytes(cut.share, length, sent, len(piece)) if cut else None
            if kept is not None:
                await send(sink, piece[:kept])
                raise AbortError
            sent += len(piece)
            if listening:
                try:
                    await send(sink, piece)
                except ConnectionError:  # it answers without hearing the rest
                    listening = False
        if cut is not None:
            raise AbortError

    async def _final_head(self, server_reader: asyncio.StreamReader) -> Head:
        while True:
            head = await httpwire.read_head(server_reader)
            if head is None:
                raise httpwire.BrokenOffError("the server ended without an answer")
            if head.status >= 200:
                return head
            self.writer.write(head.raw)

    async def _pass_on(self, answer: Head, server_reader: asyncio.StreamReader) -> None:
        location = answer.headers.get("location", "")
        for theirs, ours in self.wiring.redirects.items():
            if f"//{theirs}/" in location:
                answer = answer.with_header("location", location.replace(f"//{theirs}/", f"//{ours}/", 1))
        # Before the client has it: when a test's call has returned, the record is complete.
        self.wiring.note(self.number, status=answer.status)
        self.writer.write(answer.raw)
        length = httpwire.answer_length(answer, self.method)
        cut = self.chosen.fatal if isinstance(self.chosen.fatal, faults.CutAnswer) else None
        sent = 0
        async for piece in httpwire.body(server_reader, answer, length):
            await self._pace(len(piece))
            kept = faults.kept_bytes(cut.share, length, sent, len(piece)) if cut else None
            if kept is not None:
                self.writer.write(piece[:kept])
                await self.writer.drain()
                await asyncio.sleep(_FLUSH_S)
                raise AbortError
            sent += len(piece)
            self.writer.write(piece)
            await self.writer.drain()
        if cut is not None:
            raise AbortError
        await self.writer.drain()

    async def _lose(self, fault: faults.LoseAnswer) -> bool:
        if fault.how == "hang":
            await asyncio.Event().wait()
        if fault.how == "reset":
            raise AbortError
        return False

    async def _drain(self, sending: asyncio.Task[None]) -> None:
        with suppress(asyncio.TimeoutError, ConnectionError):
            await asyncio.wait_for(sending, _DRAIN_S)

    async def _pace(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        for rule in self.chosen.lines:
            assert isinstance(rule.fault, faults.Bandwidth)
            rule.free_at = max(now, rule.free_at) + size / rule.fault.bytes_per_s
            await asyncio.sleep(rule.free_at - now)

    def _call(self, hook: Hook | None) -> None:
        # In the loop itself, so that nothing else moves meanwhile.
        if hook is not None and hook(self.number, self.method, self.path) is False:
            raise AbortError


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash or a broken line does: the other side reads 'connection reset'."""
    abort_at_close(writer.get_extra_info("socket"))
    writer.transport.abort()


def abort_at_close(connection: socket.socket) -> None:
    """Let the connection end with a reset when it is closed."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
