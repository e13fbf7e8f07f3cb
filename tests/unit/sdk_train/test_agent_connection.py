"""The process's connection to its agent, where a report is ended in its middle or the agent is gone."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from paceline.train._client import AgentGoneError, Client
from tests.support.timeouts import LOCAL_S


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens and reads nothing by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()
        listener.settimeout(LOCAL_S)
        yield listener


@pytest.fixture
def client(agent: socket.socket) -> Client:
    return Client(agent.getsockname())


def lines(agent: socket.socket) -> list[bytes]:
    """What arrived on the next connection until its end, after the hello; the last has no newline where it was cut."""
    connection, _ = agent.accept()
    connection.settimeout(LOCAL_S)
    with connection, connection.makefile("rb") as stream:
        return list(stream)[1:]


@contextlib.contextmanager
def interrupted(agent: socket.socket, arrived: bytes, handler: Callable[[], None]) -> Iterator[Future[bytes]]:
    """Once a connection has brought these bytes, `handler` runs in the main thread, and ends what goes on there.

    Gives all that the connection brings, which is not read on before that.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        handler()
        ended.set()
        raise SystemExit

    def watch() -> bytes:
        connection, _ = agent.accept()
        connection.settimeout(LOCAL_S)
        data = b""
        with connection:
            while arrived not in data:
                data += connection.recv(100)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            assert ended.wait(LOCAL_S)
            while more := connection.recv(1_000_000):
                data += more
        return data

    before = signal.signal(signal.SIGALRM, end)
    try:
        pool = ThreadPoolExecutor(1)
        with pytest.raises(SystemExit):
            yield pool.submit(watch)
        pool.shutdown(wait=False)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_line_that_a_handler_cut_does_not_damage_the_next_one(agent: socket.socket, client: Client) -> None:
    with interrupted(agent, b"xx", lambda: None) as first:
        client.send("x" * 5_000_000)  # more than the kernel takes while nobody reads
    client.send("next")
    client.forget()
    assert first.result().endswith(b"xx")
    assert lines(agent) == [b"next\n"]


def test_a_handler_reports_beside_the_report_that_it_interrupts(agent: socket.socket, client: Client) -> None:
    with interrupted(agent, b"a question\n", lambda: client.send("from the handler")) as first:
        client.ask("a question")
    assert first.result().endswith(b"a question\n")
    assert lines(agent) == [b"from the handler\n"]


def test_a_request_that_finds_no_agent_leaves_the_connection_of_the_reports_alone(
    agent: socket.socket, client: Client, tmp_path: Path
) -> None:
    client.send("one")
    (tmp_path / "agent.sock").unlink()
    with pytest.raises(AgentGoneError, match="does not answer"):
        client.request({"t": "space"})
    client.send("two")
    client.forget()
    assert lines(agent) == [b"one\n", b"two\n"]
