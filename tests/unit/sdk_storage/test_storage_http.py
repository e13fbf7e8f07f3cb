"""The HTTP below transfers, against a server of a few lines that does what real ones do at bad moments."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.storage import StorageError
from paceline.storage._http import Address, Connections, NoAnswerError, Slice
from tests.support.timeouts import LOCAL_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Script = Callable[[socket.socket, bytes], bool]  # (connection, request's head) -> whether to read another request


class Server:
    """Answers each request by the next script; keeps the heads of all requests."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.scripts: list[Script] = []
        self.heads: list[str] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> Address:
        return Address(secure=False, host="127.0.0.1", port=self.socket.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while head := _head(connection):
                self.heads.append(head.decode())
                if not self.scripts.pop(0)(connection, head):
                    return


def _head(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        try:
            data = connection.recv(1)
        except ConnectionError:
            return b""
        if not data:
            return b""
        got += data
    return got


def answer(data: bytes, *, again: bool = True) -> Script:
    def script(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(data)
        return again

    return script


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.socket.close()


def test_a_connection_is_used_again(server: Server) -> None:
    connections = Connections(server.address)
    server.scripts = [answer(OK), answer(OK)]
    for _ in range(2):
        assert connections.request("GET", "/x", {"host": "h"}).body == b"ok"
    assert server.connections == 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_no_failure(server: Server) -> None:
    connections = Connections(server.address)
    server.scripts = [answer(OK, again=False), answer(OK)]
    for _ in range(2):
        assert connections.request("GET", "/x", {"host": "h"}).status == 200
    assert server.connections == 2


def test_a_new_connection_that_is_closed_without_an_answer_is_one(server: Server) -> None:
    server.scripts = [answer(b"", again=False)]
    with pytest.raises(NoAnswerError, match="closed"):
        Connections(server.address).request("GET", "/x", {"host": "h"})


def test_nobody_listens(server: Server) -> None:
    address = server.address
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()
    with pytest.raises(NoAnswerError, match=r"cannot connect to 127.0.0.1:\d+: Connection refused"):
        Connections(address).request("GET", "/x", {"host": "h"})


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", id="of a known length"),
        pytest.param(CHUNKED + b"9\r\nhalf", id="in chunks"),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure_though_some_came(server: Server, said: bytes) -> None:
    server.scripts = [answer(said, again=False)]
    got: list[bytes] = []
    with pytest.raises(NoAnswerError):
        Connections(server.address).request("GET", "/x", {"host": "h"}, sink=got.append)
    assert server.connections == 1


def test_an_answer_that_is_reset_in_its_middle_is_not_asked_for_again_behind_the_sink(server: Server) -> None:
    """A connection that was used before: what came of the answer lies in the sink already."""
    some = bytes(1024 * 1024)
    taken = threading.Event()

    def reset(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 * len(some), some))
        taken.wait(LOCAL_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    server.scripts = [answer(OK), reset, answer(OK)]
    connections = Connections(server.address)
    connections.request("GET", "/x", {"host": "h"})
    got: list[bytes] = []

    def sink(data: bytes) -> None:
        got.append(data)
        if sum(map(len, got)) == len(some):
            taken.set()

    with pytest.raises(NoAnswerError, match="reset"):
        connections.request("GET", "/x", {"host": "h"}, sink=sink)
    assert b"".join(got) == some
    assert len(server.heads) == 2


def test_the_words_of_a_store_that_refuses_early_are_read(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(64 * 1024 * 1024))
    denied = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 6\r\n\r\ndenied"

    def refuse(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(denied)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass
        return False

    server.scripts = [refuse]
    with file.open("rb", buffering=0) as f:
        told = Connections(server.address).request("PUT", "/x", {"host": "h"}, Slice(f, 0, 64 * 1024 * 1024))
    assert (told.status, told.body) == (403, b"denied")


def test_a_file_that_becomes_shorter_is_told(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(10))
    server.scripts = [answer(OK)]
    with file.open("rb", buffering=0) as f, pytest.raises(StorageError, match="file became shorter"):
        Connections(server.address).request("PUT", "/x", {"host": "h"}, Slice(f, 0, 11))


def test_a_slice_is_sent_without_what_is_around_it(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    got: list[bytes] = []

    def read(connection: socket.socket, head: bytes) -> bool:
        got.append(connection.recv(100))
        connection.sendall(OK)
        return True

    server.scripts = [read]
    with file.open("rb", buffering=0) as f:
        Connections(server.address).request("PUT", "/x", {"host": "h"}, Slice(f, 3, 4))
    assert got == [b"3456"]
    assert "content-length: 4" in server.heads[0]


def test_a_sink_that_fails_is_not_taken_for_the_network(server: Server) -> None:
    def full(data: bytes) -> None:
        raise StorageError("disk full")

    server.scripts = [answer(OK)]
    with pytest.raises(StorageError, match="disk full"):
        Connections(server.address).request("GET", "/x", {"host": "h"}, sink=full)


def test_a_proxy_is_asked_for_the_whole_address_and_given_its_login(server: Server) -> None:
    port = server.address.port
    address = Address(secure=False, host="store", port=9000, proxy=f"http://me:se%40cret@127.0.0.1:{port}")
    server.scripts = [answer(OK)]
    assert Connections(address).request("GET", "/b/k?x=1", {"host": address.host_header}).body == b"ok"
    head = server.heads[0]
    assert head.startswith("GET http://store:9000/b/k?x=1 HTTP/1.1\r\n")
    assert "host: store:9000" in head
    assert "proxy-authorization: Basic bWU6c2VAY3JldA==" in head
    assert "cret" not in repr(address)


def test_https_goes_through_a_proxy_by_a_tunnel(server: Server) -> None:
    address = Address(secure=True, host="store", port=None, proxy=f"127.0.0.1:{server.address.port}")
    server.scripts = [answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", again=False)]
    with pytest.raises(NoAnswerError, match="cannot connect to store"):
        Connections(address).request("GET", "/b/k", {"host": address.host_header})
    assert server.heads[0].startswith("CONNECT store:443 HTTP/1.")


def test_a_silent_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.storage._http.READ_TIMEOUT_S", 0.05)
    ended = threading.Event()
    server.scripts = [lambda *_: ended.wait(LOCAL_S)]
    with pytest.raises(NoAnswerError, match="no answer in time"):
        Connections(server.address).request("GET", "/x", {"host": "h"})
    ended.set()


@pytest.mark.parametrize(
    ("address", "header"),
    [
        (Address(True, "h", None), "h"),
        (Address(True, "h", 443), "h"),
        (Address(False, "h", 80), "h"),
        (Address(True, "h", 80), "h:80"),
        (Address(False, "::1", 9000), "[::1]:9000"),
    ],
)
def test_the_host_header(address: Address, header: str) -> None:
    assert address.host_header == header


@pytest.mark.parametrize(
    ("said", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nCONTENT-Length:2\r\n\r\nok", b"ok", id="any case, no space"),
        pytest.param(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + OK, b"ok", id="continue first"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"ok", id="chunks"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="no content"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok", id="no reason"),
        pytest.param(CHUNKED + b"1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: t\r\n\r\n", b"ok", id="two chunks and a trailer"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok", id="bare line ends"),
    ],
)  # fmt: skip
def test_an_answer_is_understood_and_the_connection_used_again(server: Server, said: bytes, body: bytes) -> None:
    connections = Connections(server.address)
    server.scripts = [answer(said), answer(OK)]
    assert connections.request("GET", "/x", {"host": "h"}).body == body
    assert connections.request("GET", "/x", {"host": "h"}).body == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("head", [b"Content-Length: 600", b"Transfer-Encoding: chunked"])
def test_an_answer_in_many_small_packets_is_one(server: Server, head: bytes) -> None:
    body = bytes(range(200)) * 3
    sent = body if b"Length" in head else b"12c\r\n%b\r\n12c\r\n%b\r\n0\r\n\r\n" % (body[:300], body[300:])

    def slowly(connection: socket.socket, _: bytes) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, sent):
            connection.sendall(bytes([byte]))
        return True

    connections = Connections(server.address)
    server.scripts = [slowly, answer(OK)]
    assert connections.request("GET", "/x", {"host": "h"}).body == body
    assert connections.request("GET", "/x", {"host": "h"}).body == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="says close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok", id="no length"),
    ],
)
def test_a_connection_that_ends_with_its_answer_is_not_used_again(server: Server, said: bytes) -> None:
    connections = Connections(server.address)
    server.scripts = [answer(said, again=False), answer(OK)]
    assert connections.request("GET", "/x", {"host": "h"}).body == b"ok"
    assert connections.request("GET", "/x", {"host": "h"}).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 ok\r\n\r\n", id="no status"),
        pytest.param(CHUNKED + b"zz\r\n", id="no chunk"),
        pytest.param(CHUNKED + b"2\r\nok\r\n", id="no last chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", id="too many headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", id="too long a header"),
    ],
)
def test_what_is_no_answer_is_a_failure(server: Server, said: bytes) -> None:
    server.scripts = [answer(said, again=False)]
    with pytest.raises(NoAnswerError):
        Connections(server.address).request("GET", "/x", {"host": "h"})


def test_a_line_break_in_a_header_is_refused(server: Server) -> None:
    with pytest.raises(StorageError, match="line break: look at the credentials"):
        Connections(server.address).request("GET", "/x", {"x-amz-security-token": "abc\r\nX: injected"})
    assert server.heads == []


def test_headers_are_found_by_any_name_and_joined(server: Server) -> None:
    said = b"HTTP/1.1 200 OK\r\nX-Goog-Hash: crc32c=AA==\r\nx-goog-hash: md5=BB==\r\nContent-Length: 0\r\n\r\n"
    server.scripts = [answer(said)]
    headers = Connections(server.address).request("GET", "/x", {"host": "h"}).headers
    assert headers.get("X-GOOG-HASH") == "crc32c=AA==, md5=BB=="
    assert headers.get("ETag") is None
