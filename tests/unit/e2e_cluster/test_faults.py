from __future__ import annotations

import asyncio

import pytest

from e2e.cluster import faults, httpwire
from e2e.cluster.faults import Answer, Bandwidth, Chosen, CutAnswer, Latency, Reset, Rule, choose


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        pytest.param(Rule(Reset()), [1], id="the first only"),
        pytest.param(Rule(Reset(), times=None), [1, 2, 3, 4, 5, 6], id="all"),
        pytest.param(Rule(Reset(), skip=3), [4], id="after three"),
        pytest.param(Rule(Reset(), times=None, every=2), [1, 3, 5], id="every second"),
        pytest.param(Rule(Reset(), times=2, skip=1, every=2), [2, 4], id="skip, every and times together"),
        pytest.param(Rule(Reset(), method="GET"), [], id="another method"),
        pytest.param(Rule(Reset(), path="partNumber=2"), [1], id="a part of the path"),
        pytest.param(Rule(Reset(), path="^/other"), [], id="another path"),
    ],
)
def test_a_rule_befalls_the_requests_it_is_meant_for(rule: Rule, hit: list[int]) -> None:
    befallen = [n for n in range(1, 7) if rule.befalls("PUT", "/bucket/key?partNumber=2")]
    assert befallen == hit
    assert rule.hits == len(hit)


def test_a_removed_rule_befalls_nothing() -> None:
    rule = Rule(Reset(), times=None)
    rule.remove()
    assert not rule.befalls("GET", "/")


def test_waits_and_limits_add_up_and_the_oldest_of_the_others_wins() -> None:
    line = Rule(Bandwidth(1e6), times=None)
    rules = [Rule(Latency(1)), Rule(Answer(503)), Rule(Latency(2)), line, Rule(Reset())]
    assert choose(rules, "GET", "/") == Chosen(Answer(503), 3, (line,))
    assert choose(rules, "GET", "/") == Chosen(Reset(), 0, (line,))
    assert choose(rules, "GET", "/") == Chosen(None, 0, (line,))


@pytest.mark.parametrize(
    ("length", "sent", "piece", "kept"),
    [
        pytest.param(100, 0, 30, None, id="before the cut"),
        pytest.param(100, 30, 30, 20, id="the cut is inside"),
        pytest.param(100, 0, 100, 50, id="one piece"),
        pytest.param(None, 0, 5, None, id="the size line of a chunk"),
        pytest.param(None, 5, 1000, 500, id="a chunk"),
    ],
)
def test_a_body_is_cut_at_its_share(length: int | None, sent: int, piece: int, kept: int | None) -> None:
    assert faults.kept_bytes(CutAnswer(0.5).share, length, sent, piece) == kept


def stream(wire: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(wire)
    reader.feed_eof()
    return reader


async def test_a_chunked_body_passes_unchanged_with_its_trailers_and_not_a_byte_more() -> None:
    chunks = b"5;x=y\r\nhello\r\n0\r\nx-amz-checksum-crc32c: AAAA\r\n\r\n"
    reader = stream(b"PUT /k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"GET / HTTP/1.1\r\n\r\n")
    head = await httpwire.read_head(reader)
    assert head is not None
    assert b"".join([piece async for piece in httpwire.body(reader, head, httpwire.request_length(head))]) == chunks
    following = await httpwire.read_head(reader)
    assert following is not None
    assert following.first == ("GET", "/", "HTTP/1.1")
    assert await httpwire.read_head(reader) is None


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"PUT /k HTTP/1.1\r\nContent-Len", id="head"),
        pytest.param(b"PUT /k HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345", id="body"),
        pytest.param(b"PUT /k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", id="chunk"),
        pytest.param(b"PUT /k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", id="trailers"),
    ],
)
async def test_a_message_that_breaks_off_is_not_taken_for_a_whole_one(wire: bytes) -> None:
    reader = stream(wire)
    with pytest.raises(httpwire.BrokenOffError):  # noqa: PT012 - the head or its body
        head = await httpwire.read_head(reader)
        assert head is not None
        async for _ in httpwire.body(reader, head, httpwire.request_length(head)):
            pass


@pytest.mark.parametrize(
    ("answer", "method", "length"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "GET", 7, id="with a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", 0, id="HEAD"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", "DELETE", 0, id="no content"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", "GET", None, id="until the end"),
    ],
)
async def test_the_length_of_an_answers_body_is_known(answer: bytes, method: str, length: int | None) -> None:
    head = await httpwire.read_head(stream(answer))
    assert head is not None
    assert httpwire.answer_length(head, method) == length


async def test_a_header_is_replaced_in_place() -> None:
    head = await httpwire.read_head(stream(b"HTTP/1.1 307 R\r\nLocation: http://a:1/x\r\nServer: s\r\n\r\n"))
    assert head is not None
    replaced = head.with_header("location", "http://b:2/x")
    assert replaced.raw == b"HTTP/1.1 307 R\r\nLocation: http://b:2/x\r\nServer: s\r\n\r\n"
