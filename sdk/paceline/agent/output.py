"""What the processes print goes on to the container's log at once; the last lines are kept for the failure report.

One thread reads all pipes, so a log that is read slowly holds back the processes' output and nothing else.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from dataclasses import dataclass, field

_READ_BYTES = 64 * 1024
_KEPT_LINES = 50
_KEPT_LINE_BYTES = 2000
_LONGEST_LINE_BYTES = 64 * 1024


@dataclass(slots=True)
class _Stream:
    fd: int  # read end
    to: int  # 1 or 2
    rank: int
    prefix: bytes
    partial: bytes = b""


@dataclass(slots=True)
class _Kept:
    lines: deque[bytes] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    streams: int = 0
    ended: threading.Event = field(default_factory=threading.Event)


class Output:
    """Pipes of the processes of one pod."""

    def __init__(self, *, stdout: int = 1, stderr: int = 2) -> None:
        self._targets = {1: stdout, 2: stderr}
        self._selector = selectors.DefaultSelector()
        self._kept: dict[int, _Kept] = {}
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._new: list[_Stream] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="paceline-output", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread.start()

    def add(self, rank: int, stdout: int, stderr: int, *, prefix: str) -> None:
        """Read these two pipes (their ownership passes here) until their end. An empty prefix: pass bytes through."""
        with self._lock:
            kept = self._kept.setdefault(rank, _Kept())
            kept.streams += 2
            for fd, to in ((stdout, 1), (stderr, 2)):
                os.set_blocking(fd, False)
                self._new.append(_Stream(fd, to, rank, prefix.encode()))
        os.write(self._wake_write, b"x")

    def wait(self, rank: int, timeout_s: float) -> None:
        """Block until both pipes of a rank are at their end; a grandchild may hold them open for longer."""
        kept = self._kept.get(rank)
        if kept is not None:
            kept.ended.wait(timeout_s)

    def last_lines(self, rank: int) -> list[str]:
        """The newest lines of a rank, the oldest first."""
        with self._lock:
            kept = self._kept.get(rank)
            return [line.decode(errors="replace") for line in kept.lines] if kept else []

    def close(self) -> None:
        """Pass on what is left and end the thread."""
        self._closing = True
        os.write(self._wake_write, b"x")
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake_read, 4096)
                    self._register_new()
                else:
                    self._read(key.data)
            if self._closing:
                for key in list(self._selector.get_map().values()):
                    if key.data is not None:
                        self._read(key.data)
                return

    def _register_new(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        for stream in new:
            self._selector.register(stream.fd, selectors.EVENT_READ, stream)

    def _read(self, stream: _Stream) -> None:
        try:
            data = os.read(stream.fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._pass_on(stream, data)
            return
        self._selector.unregister(stream.fd)
        os.close(stream.fd)
        if stream.partial:
            self._pass_on(stream, b"\n")
        with self._lock:
            kept = self._kept[stream.rank]
            kept.streams -= 1
            if not kept.streams:
                kept.ended.set()

    def _pass_on(self, stream: _Stream, data: bytes) -> None:
        *lines, rest = (stream.partial + data).split(b"\n")
        if len(rest) > _LONGEST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        with self._lock:
            # Of a progress bar (`\r`) only its last state is worth keeping.
            self._kept[stream.rank].lines.extend(
                line.rstrip(b"\r").rpartition(b"\r")[2][:_KEPT_LINE_BYTES] for line in lines
            )
        if stream.prefix:
            if lines:
                self._write(stream.to, b"".join(stream.prefix + line + b"\n" for line in lines))
        else:
            self._write(stream.to, data)
        stream.partial = rest

    def _write(self, to: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._targets[to], view) :]
        except OSError:
            pass  # nobody reads the log any more; the training goes on
