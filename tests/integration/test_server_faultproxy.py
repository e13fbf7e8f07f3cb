"""Each fault of the proxy as a client of a real S3 server sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from e2e.cluster.s3 import S3Server
from tests.support.faultproxy import (
    Answer,
    Bandwidth,
    CutAnswer,
    CutRequest,
    FaultProxy,
    Hang,
    Latency,
    LoseAnswer,
    Reset,
    s3_error,
)

BUCKET = "faults"
MIB = 2**20


@pytest.fixture
def proxy(s3_server: S3Server, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    s3_server.make_bucket(BUCKET)
    return fault_proxy(s3_server.endpoint)


def client(server: S3Server, proxy: FaultProxy, *, attempts: int = 1, read_timeout_s: float = 10) -> Any:
    retries: Any = {"total_max_attempts": attempts, "mode": "standard"}
    return boto3.client(
        "s3",
        endpoint_url=proxy.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(retries=retries, read_timeout=read_timeout_s, s3={"addressing_style": "path"}),
    )


@pytest.fixture
def s3(s3_server: S3Server, proxy: FaultProxy) -> Any:
    return client(s3_server, proxy)


def stored(server: S3Server, key: str) -> bytes | None:
    direct = server.client()
    try:
        content: bytes = direct.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    except direct.exceptions.NoSuchKey:
        return None
    return content


def test_without_a_fault_everything_passes_with_its_signature(s3: Any, proxy: FaultProxy) -> None:
    content = bytes(range(256)) * 4096 * 5
    s3.upload_fileobj(_Pieces(content), BUCKET, "whole")
    assert s3.get_object(Bucket=BUCKET, Key="whole")["Body"].read() == content
    s3.head_object(Bucket=BUCKET, Key="whole")
    s3.delete_object(Bucket=BUCKET, Key="whole")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="whole")["KeyCount"] == 0
    assert all(r.forwarded and r.status is not None and r.status < 300 and not r.fault for r in proxy.requests)
    assert [r.number for r in proxy.requests] == list(range(1, len(proxy.requests) + 1))


class _Pieces:
    """A stream that boto3 cannot seek in: it uploads several parts."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        size = len(self._content) if size < 0 else size
        piece, self._content = self._content[:size], self._content[size:]
        return piece


def test_a_wrong_key_is_refused_through_the_proxy_too(s3_server: S3Server, proxy: FaultProxy) -> None:
    wrong = S3Server(s3_server.process, s3_server.folder, "127.0.0.1", 1)
    s3_server.process.ready = s3_server.answers
    wrong.secret_key = "wrong"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(wrong, proxy).put_object(Bucket=BUCKET, Key="k", Body=b"x" * MIB)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(s3_error(503, "SlowDown"), "SlowDown", id="throttled"),
        pytest.param(s3_error(403, "AccessDenied"), "AccessDenied", id="refused"),
        pytest.param(s3_error(500, "InternalError"), "InternalError", id="broken"),
    ],
)
def test_an_answer_of_the_proxy_never_reaches_the_server(
    fault: Answer, code: str, s3: Any, proxy: FaultProxy, s3_server: S3Server
) -> None:
    rule = proxy.fail(fault, method="PUT", path="/answered$")
    with pytest.raises(ClientError, match=code):
        s3.put_object(Bucket=BUCKET, Key="answered", Body=b"x" * MIB)
    assert stored(s3_server, "answered") is None
    assert rule.hits == 1
    seen = proxy.requests[-1]
    assert (seen.method, seen.path, seen.status, seen.fault, seen.forwarded) == (
        "PUT",
        f"/{BUCKET}/answered",
        fault.status,
        "Answer",
        False,
    )
    s3.put_object(Bucket=BUCKET, Key="answered", Body=b"second")
    s3_server.client().delete_object(Bucket=BUCKET, Key="answered")


def test_a_client_that_retries_gets_through_after_two_refusals(s3_server: S3Server, proxy: FaultProxy) -> None:
    proxy.fail(s3_error(503, "SlowDown"), method="PUT", times=2)
    client(s3_server, proxy, attempts=4).put_object(Bucket=BUCKET, Key="retried", Body=b"x")
    assert [r.status for r in proxy.requests] == [503, 503, 200]


def test_a_reset_before_forwarding_stores_nothing(s3: Any, proxy: FaultProxy, s3_server: S3Server) -> None:
    proxy.fail(Reset(), method="PUT")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key="reset", Body=b"x" * MIB)
    assert stored(s3_server, "reset") is None


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_lost_answer_leaves_what_was_stored(how: Any, s3: Any, proxy: FaultProxy, s3_server: S3Server) -> None:
    proxy.fail(LoseAnswer(how), method="PUT")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key=f"lost-{how}", Body=b"stored")
    assert stored(s3_server, f"lost-{how}") == b"stored"
    assert proxy.requests[-1].forwarded
    assert proxy.requests[-1].status is None


def test_a_conditional_write_whose_answer_was_lost_is_refused_when_it_is_sent_again(
    s3_server: S3Server, proxy: FaultProxy
) -> None:
    proxy.fail(LoseAnswer(), method="PUT")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client(s3_server, proxy, attempts=2).put_object(Bucket=BUCKET, Key="once", Body=b"mine", IfNoneMatch="*")
    assert stored(s3_server, "once") == b"mine"


@pytest.mark.parametrize("fault", [Hang(), LoseAnswer("hang")], ids=["request held", "answer held"])
def test_a_held_request_ends_by_the_clients_own_timeout(fault: Any, s3_server: S3Server, proxy: FaultProxy) -> None:
    proxy.fail(fault, method="PUT")
    with pytest.raises(ReadTimeoutError):
        client(s3_server, proxy, read_timeout_s=0.3).put_object(Bucket=BUCKET, Key="held", Body=b"x")


def test_a_request_that_is_cut_is_not_stored(s3: Any, proxy: FaultProxy, s3_server: S3Server) -> None:
    proxy.fail(CutRequest(0.5), method="PUT")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key="cut", Body=b"x" * (4 * MIB))
    assert proxy.requests[-1].forwarded
    assert stored(s3_server, "cut") is None


def test_an_answer_that_is_cut_gives_its_first_half_and_an_error(
    s3: Any, proxy: FaultProxy, s3_server: S3Server
) -> None:
    content = bytes(range(256)) * 4096
    s3_server.client().put_object(Bucket=BUCKET, Key="half", Body=content)
    proxy.fail(CutAnswer(0.5), method="GET")
    body = s3.get_object(Bucket=BUCKET, Key="half")["Body"]
    got = b""
    with pytest.raises(Exception, match=r"reset|broken|IncompleteRead"):  # noqa: PT012 - which of them fails is the client's
        while piece := body.read(1024):
            got += piece
    assert 0 < len(got) <= len(content) / 2
    assert content.startswith(got)


def test_latency_delays_and_changes_nothing(s3: Any, proxy: FaultProxy) -> None:
    proxy.fail(Latency(0.4), method="PUT")
    started = time.monotonic()
    s3.put_object(Bucket=BUCKET, Key="late", Body=b"x")
    assert time.monotonic() - started >= 0.4
    assert proxy.requests[-1].fault == "Latency"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_bandwidth_bounds_both_directions(direction: str, s3: Any, proxy: FaultProxy, s3_server: S3Server) -> None:
    content = b"x" * MIB
    s3_server.client().put_object(Bucket=BUCKET, Key="slow", Body=content)
    proxy.fail(Bandwidth(2 * MIB), times=None)
    started = time.monotonic()
    if direction == "up":
        s3.put_object(Bucket=BUCKET, Key="slow", Body=content)
    else:
        assert s3.get_object(Bucket=BUCKET, Key="slow")["Body"].read() == content
    assert time.monotonic() - started >= 0.45


def test_a_hook_runs_at_exactly_the_request_it_counts(s3: Any, proxy: FaultProxy, s3_server: S3Server) -> None:
    called: list[tuple[str, int, bytes | None]] = []

    def before(number: int, method: str, path: str) -> None:
        called.append(("before", number, stored(s3_server, path.rpartition("/")[2])))

    def after(number: int, method: str, path: str) -> bool:
        called.append(("after", number, stored(s3_server, path.rpartition("/")[2])))
        return number != 2

    proxy.on_forward(before=before, after=after)
    s3.put_object(Bucket=BUCKET, Key="hook-1", Body=b"1")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key="hook-2", Body=b"2")
    assert called == [("before", 1, None), ("after", 1, b"1"), ("before", 2, None), ("after", 2, b"2")]


def test_a_server_that_is_killed_at_a_request_does_not_see_it(
    s3: Any, proxy: FaultProxy, s3_server: S3Server, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(s3_server.start)

    def kill(number: int, method: str, path: str) -> None:
        s3_server.kill()

    s3.put_object(Bucket=BUCKET, Key="before-crash", Body=b"kept")
    proxy.on_forward(before=kill)
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key="at-crash", Body=b"x")
    proxy.on_forward()
    s3_server.start()
    s3.put_object(Bucket=BUCKET, Key="after-crash", Body=b"x")
    assert stored(s3_server, "before-crash") == b"kept"
    assert stored(s3_server, "at-crash") is None


def test_what_a_hook_raises_is_raised_by_close(s3_server: S3Server) -> None:
    def broken(number: int, method: str, path: str) -> None:
        raise LookupError("from the hook")

    proxy = FaultProxy(s3_server.endpoint, before_forward=broken).start()
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        client(s3_server, proxy).list_buckets()
    with pytest.raises(LookupError, match="from the hook"):
        proxy.close()


def test_waiting_for_a_request_tells_what_came_instead(s3: Any, proxy: FaultProxy) -> None:
    s3.list_buckets()
    assert proxy.wait_for("GET")[0].method == "GET"
    with pytest.raises(TimeoutError, match=r"0 of 1 PUT.*GET /"):
        proxy.wait_for("PUT", timeout_s=0.01)


def test_thirty_connections_at_once_pass(s3_server: S3Server, proxy: FaultProxy) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def put(number: int) -> None:
        client(s3_server, proxy).put_object(Bucket=BUCKET, Key=f"many-{number}", Body=bytes([number]) * 10_000)

    with ThreadPoolExecutor(30) as threads:
        list(threads.map(put, range(30)))
    assert [stored(s3_server, f"many-{n}") for n in range(30)] == [bytes([n]) * 10_000 for n in range(30)]


@pytest.fixture(autouse=True)
def _no_request_is_left(s3_server: S3Server) -> Iterator[None]:
    yield
    assert s3_server.answers()
