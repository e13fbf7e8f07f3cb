"""The Unix socket of a pod: training processes send reports and requests as lines of JSON.

The sockets are read without asyncio's streams for one reason: after a process has ended, `drain` takes everything that
it wrote out of the kernel's buffers before anybody judges its end. So a report is never lost once `sendall` returned,
even if the process was killed with its next instruction.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READ_BYTES = 256 * 1024
_LINE_BYTES = 64 * 1024 * 1024
_LONGEST_PATH = 100  # the kernel's limit is 108 bytes

Handler = Callable[["Connection", dict[str, Any]], None]


class Connection:
    """One connected process. `rank` is known after its first message."""

    def __init__(self, channel: Channel, sock: socket.socket) -> None:
        self.rank: int | None = None
        self.on_close: list[Callable[[], object]] = []
        self._channel = channel
        self._sock = sock
        self._buffer = b""
        self._unsent = b""

    def reply(self, told: dict[str, Any]) -> None:
        """Send one line; nothing happens when the process is gone."""
        self._unsent += json.dumps(told).encode() + b"\n"
        self._send()

    def read(self) -> bool:
        """Take what the kernel holds now. False at the end of the stream."""
        while True:
            try:
                data = self._sock.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            if not data:
                return False
            self._take(data)
            if len(self._buffer) > _LINE_BYTES:
                return False
            if len(data) < _READ_BYTES:
                # Let others have their turn: a process that reports in a tight loop must not hold the loop.
                return True

    def read_all(self) -> None:
        """Take everything: its sender is dead, so this ends."""
        while True:
            before = len(self._buffer), self._taken
            if not self.read() or (len(self._buffer), self._taken) == before:
                return

    def close(self) -> None:
        """Close, and tell those who wait for it."""
        self._sock.close()
        for callback in self.on_close:
            callback()
        self.on_close.clear()

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    _taken = 0

    def _take(self, data: bytes) -> None:
        self._taken += len(data)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._channel.handle(self, line)

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sent = self._sock.send(self._unsent)
            self._unsent = self._unsent[sent:]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._unsent = b""
        if self._sock.fileno() < 0:
            return
        if self._unsent:
            loop.add_writer(self._sock, self._send)
        else:
            loop.remove_writer(self._sock)


class Channel:
    """Listens at `path` and gives every message to `handler`, in the order of each process.

    The socket lies in `directory`, or in one of its own below /tmp where that path is too long for one.
    """

    def __init__(self, directory: Path, handler: Handler, warn: Callable[[str], None]) -> None:
        self.path = directory / "agent.sock"
        self._elsewhere: Path | None = None
        self._handler = handler
        self._warn = warn
        self._listener: socket.socket | None = None
        self._connections: set[Connection] = set()

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: The path cannot be used.
        """
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            self._elsewhere = Path(tempfile.mkdtemp(prefix="paceline-", dir="/tmp"))
            self.path = self._elsewhere / self.path.name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(512)
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def drain(self) -> None:
        """Handle all that ended processes have sent."""
        self._accept()
        for connection in list(self._connections):
            connection.read_all()

    def close(self) -> None:
        """Close all."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            self._drop(connection)
        self.path.unlink(missing_ok=True)
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    def handle(self, connection: Connection, line: bytes) -> None:
        """Decode one line and pass it on."""
        try:
            message = json.loads(line)
            if connection.rank is None:
                connection.rank = int(message["rank"])
            self._handler(connection, message)
        except (ValueError, KeyError, TypeError) as e:
            # A process that writes nonsense here is no reason to end the others.
            self._warn(f"a message of rank {connection.rank} was not understood ({type(e).__name__}: {e})")

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listener is not None:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                self._warn(f"cannot accept a process: {e}")
                return
            sock.setblocking(False)
            connection = Connection(self, sock)
            self._connections.add(connection)
            loop.add_reader(sock, self._readable, connection)

    def _readable(self, connection: Connection) -> None:
        if not connection.read():
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        if connection.fileno() >= 0:
            loop.remove_reader(connection.fileno())
            loop.remove_writer(connection.fileno())
        self._connections.discard(connection)
        connection.close()
