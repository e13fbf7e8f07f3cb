"""The process's side of the agent's Unix socket.

A report of metrics is one `sendall` of one line without an answer: once it returns, the line is in the kernel's
buffer, and the agent reads it even if this process is killed right after.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

from paceline import _contract as c


class AgentGoneError(RuntimeError):
    """The agent that supervises this process does not answer: the pod is ending."""


class Client:
    """One connection of this process; made anew in a forked child."""

    def __init__(self, path: str) -> None:
        self._path = path
        hello = {"t": "hello", "rank": int(os.environ.get(c.RANK, "0")), "pid": os.getpid()}
        self._hello = json.dumps(hello).encode() + b"\n"
        self._lock = threading.RLock()
        self._busy = False  # with the lock held: an exchange goes on, and who comes now interrupts it
        self._sock: socket.socket | None = None

    def send(self, line: str) -> None:
        """Send one line of JSON and do not wait.

        Raises:
            AgentGoneError: The agent is gone.
        """
        self._exchange(line, answered=False)

    def ask(self, line: str) -> dict[str, Any]:
        """Send one line and wait for the answer, which no other thread can take.

        Raises:
            AgentGoneError: The agent is gone.
        """
        return self._exchange(line, answered=True)

    def request(self, told: dict[str, Any]) -> dict[str, Any]:
        """Ask on a connection of its own, which others' reports do not wait behind.

        Raises:
            AgentGoneError: The agent is gone.
        """
        sock, answer = self.open_request(told)
        sock.close()
        return answer

    def open_request(self, told: dict[str, Any]) -> tuple[socket.socket, dict[str, Any]]:
        """Ask on a connection of its own, whose closing tells the agent that the answer is no longer used.

        Raises:
            AgentGoneError: The agent is gone.
        """
        try:
            sock = self._dial(json.dumps(told).encode() + b"\n")
            try:
                return sock, read_answer(sock)
            except BaseException:
                sock.close()
                raise
        except OSError as e:
            raise _gone(e) from None

    def forget(self) -> None:
        """In a forked child: the connection and the lock belong to the parent."""
        self._lock = threading.RLock()
        self._busy = False
        self._drop()  # this process's descriptor alone

    def _exchange(self, line: str, *, answered: bool) -> dict[str, Any]:
        data = line.encode() + b"\n"
        with self._lock:
            if self._busy:
                # A signal's handler reports while the code that it interrupted is in the middle of a report.
                return self._interrupting(data, answered=answered)
            self._busy = True
            try:
                if self._sock is None:
                    self._sock = self._dial()
                self._sock.sendall(data)
                return read_answer(self._sock) if answered else {}
            except OSError as e:
                self._drop()
                raise _gone(e) from None
            except BaseException:
                # A signal's handler has ended it (SystemExit): half a line may be sent, and the answer is nobody's.
                self._drop()
                raise
            finally:
                self._busy = False

    def _interrupting(self, data: bytes, *, answered: bool) -> dict[str, Any]:
        try:
            with self._dial(data) as sock:
                return read_answer(sock) if answered else {}
        except OSError as e:
            raise _gone(e) from None

    def _dial(self, data: bytes = b"") -> socket.socket:
        """A new connection, on which this process has said who it is, and `data`."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self._path)
            sock.sendall(self._hello + data)
        except BaseException:
            sock.close()
            raise
        return sock

    def _drop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _gone(error: OSError) -> AgentGoneError:
    return AgentGoneError(f"the agent of this pod does not answer ({error}): the pod is ending")


def read_answer(sock: socket.socket) -> dict[str, Any]:
    """One line of JSON."""
    data = b""
    while not data.endswith(b"\n"):
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionResetError("connection closed")
        data += chunk
    answer: dict[str, Any] = json.loads(data)
    return answer


_client: Client | None = None
_making = threading.Lock()


def client() -> Client | None:
    """The client of this process; None outside a worker."""
    if _client is not None:
        return _client
    return _make()


def _make() -> Client | None:
    global _client
    path = os.environ.get(c.AGENT_SOCKET)
    if not path:
        return None
    with _making:
        if _client is None:
            _client = Client(path)
        return _client


def _after_fork() -> None:
    global _making
    _making = threading.Lock()
    if _client is not None:
        _client.forget()


os.register_at_fork(after_in_child=_after_fork)
