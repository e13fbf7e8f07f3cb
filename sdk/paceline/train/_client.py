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
        self._hello = json.dumps({"t": "hello", "rank": int(os.environ.get(c.RANK, "0")), "pid": os.getpid()})
        self._lock = threading.Lock()
        self._holder = 0  # thread that holds the lock
        self._sock: socket.socket | None = None

    def send(self, line: str) -> None:
        """Send one line of JSON and do not wait.

        Raises:
            AgentGoneError: The agent is gone.
        """
        data = line.encode() + b"\n"
        if self._holder == threading.get_ident():
            self._interrupting(data, answered=False)
            return
        with self._lock:
            self._holder = threading.get_ident()
            try:
                (self._sock or self._connect()).sendall(data)
            except OSError as e:
                raise self._gone(e) from None
            finally:
                self._holder = 0

    def ask(self, line: str) -> dict[str, Any]:
        """Send one line and wait for the answer, which no other thread can take.

        Raises:
            AgentGoneError: The agent is gone.
        """
        data = line.encode() + b"\n"
        if self._holder == threading.get_ident():
            return self._interrupting(data, answered=True)
        with self._lock:
            self._holder = threading.get_ident()
            try:
                sock = self._sock or self._connect()
                sock.sendall(data)
                return read_answer(sock)
            except OSError as e:
                raise self._gone(e) from None
            except BaseException:
                # A signal's handler has ended the wait (SystemExit): the answer that comes is nobody's.
                self._drop()
                raise
            finally:
                self._holder = 0

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
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self._path)
            sock.sendall(f"{self._hello}\n{json.dumps(told)}\n".encode())
            return sock, read_answer(sock)
        except OSError as e:
            sock.close()
            raise self._gone(e) from None
        except BaseException:
            sock.close()
            raise

    def forget(self) -> None:
        """In a forked child: the connection and the lock belong to the parent."""
        self._lock = threading.Lock()
        self._holder = 0
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()  # this process's descriptor alone

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self._path)
        sock.sendall(self._hello.encode() + b"\n")
        self._sock = sock
        return sock

    def _interrupting(self, data: bytes, *, answered: bool) -> dict[str, Any]:
        """A signal's handler reports while the code that it interrupted is in the middle of a report."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(self._path)
                sock.sendall(self._hello.encode() + b"\n" + data)
                return read_answer(sock) if answered else {}
            except OSError as e:
                raise AgentGoneError(f"the agent of this pod does not answer ({e}): the pod is ending") from None

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _gone(self, error: OSError) -> AgentGoneError:
        self._drop()
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
