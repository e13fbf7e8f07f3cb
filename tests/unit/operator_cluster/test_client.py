"""The operator's requests against a real HTTP server: tokens, throttling, refusals, proxies, watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.client import Configuration

from paceline_operator.cluster import client as clients
from paceline_operator.cluster.access import Access
from paceline_operator.cluster.client import ApiError, Client, UnreachableError
from tests.support.timeouts import LOCAL_S


class RenewedToken(Configuration):
    """A token that is another one each time it is asked for, as a kubelet or an exec plugin renews it."""

    def __init__(self, host: str) -> None:
        super().__init__(host=host)
        self.api_key = {"authorization": "there is one"}
        self.asked = 0

    def get_api_key_with_prefix(self, identifier: str, alias: str | None = None) -> str:
        self.asked += 1
        return f"Bearer token-{self.asked}"


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Any]) -> AsyncIterator[TestServer]:
    async def handle(request: web.Request) -> web.StreamResponse:
        found: web.StreamResponse = await answer(request)
        return found

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    server = TestServer(app)
    await server.start_server()
    try:
        yield server
    finally:
        await server.close()


def access(server: TestServer, configuration: Configuration | None = None) -> Access:
    host = str(server.make_url("/")).rstrip("/")
    return Access(host, False, configuration or Configuration(host=host))


async def test_a_renewed_token_is_used_before_the_old_one_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with serving(answer) as server:
        way = access(server, RenewedToken(str(server.make_url("/"))))
        async with Client(way) as client:
            await client.request("GET", "/a")
            await client.request("GET", "/b")
            monkeypatch.setattr(clients, "TOKEN_FRESH_S", 0.0)
            await asyncio.gather(*(client.request("GET", "/c") for _ in range(3)))
    assert sent[:2] == ["Bearer token-1"] * 2
    assert "Bearer token-1" not in sent[2:]


async def test_without_a_token_none_is_sent() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"sent": request.headers.get("Authorization")})

    async with serving(answer) as server, Client(access(server)) as client:
        assert await client.get_json("/a") == {"sent": None}


async def test_a_throttled_request_is_sent_again_and_a_refused_one_is_not() -> None:
    codes = [429, 429, 201]

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/refused":
            return web.json_response({"reason": "Forbidden", "message": "no"}, status=403)
        return web.json_response({"n": len(codes)}, status=codes.pop(0), headers={"Retry-After": "0"})

    seen: list[tuple[str, int]] = []
    async with (
        serving(answer) as server,
        Client(access(server), observe=lambda verb, code, seconds: seen.append((verb, code))) as client,
    ):
        assert await client.request("POST", "/pods", b"{}") == b'{"n": 1}'
        with pytest.raises(ApiError, match="403 Forbidden: no") as refused:
            await client.request("GET", "/refused")
    assert (refused.value.reason, refused.value.name) == ("Forbidden", "")
    assert seen == [("POST", 429), ("POST", 429), ("POST", 201), ("GET", 403)]


async def test_a_proxys_page_in_place_of_an_answer_is_told_as_it_is() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad gateway</h1>")

    async with serving(answer) as server, Client(access(server)) as client:
        with pytest.raises(ApiError, match="Bad gateway"):
            await client.request("GET", "/a")


async def test_no_answer_is_told_apart_from_a_refusal() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(LOCAL_S)
        return web.Response()

    async with serving(answer) as server, Client(access(server)) as client:
        with pytest.raises(UnreachableError, match="GET /slow"):
            await client.request("GET", "/slow", timeout_s=0.05)


async def test_a_watch_gives_lines_of_any_length_and_ends_when_it_falls_silent() -> None:
    long = b"x" * 300_000

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n\ntwo\n" + long + b"\n")
        await asyncio.sleep(LOCAL_S)
        return response

    lines: list[bytes] = []

    async def watch(client: Client) -> None:
        async with client.stream("/pods", {}, silence_s=0.2) as found:
            async for line in found:
                lines.append(line)  # noqa: PERF401 (what came before the silence counts)

    async with serving(answer) as server, Client(access(server)) as client:
        with pytest.raises(UnreachableError, match="watch /pods"):
            await watch(client)
    assert lines == [b"one", b"two", long]


@pytest.mark.parametrize(
    ("environment", "proxied"),
    [
        pytest.param({}, False, id="none"),
        pytest.param({"http_proxy": "proxy"}, True, id="of the environment"),
        pytest.param({"http_proxy": "proxy", "no_proxy": "127.0.0.1"}, False, id="not for this host"),
        pytest.param({"http_proxy": "proxy", "no_proxy": "example.com"}, True, id="not for another host"),
    ],
)
async def test_the_proxy_of_the_environment(
    environment: dict[str, str], proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def direct(request: web.Request) -> web.Response:
        return web.Response(text="direct")

    async def by_proxy(request: web.Request) -> web.Response:
        return web.Response(text="by proxy")

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with serving(direct) as server, serving(by_proxy) as proxy:
        for name, value in environment.items():
            monkeypatch.setenv(name, str(proxy.make_url("/")) if value == "proxy" else value)
        async with Client(access(server)) as client:
            said = await client.request("GET", "/a")
    assert said == (b"by proxy" if proxied else b"direct")
