"""How an agent finds the lead while names come and go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from paceline.agent import web
from paceline.agent.beat import Beat, Orders
from paceline.agent.link import HttpLink, LinkDownError

BEAT = Beat("run-1", 0, 1)


class Names:
    """Name resolution that knows one name, or none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known = True
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *arguments: Any, **options: Any) -> Any:
        if host == "lead.test":
            if not self.known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return self._resolve(host, *arguments, **options)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
async def lead() -> AsyncIterator[asyncio.Server]:
    async with await web.serve(
        {("POST", "/v1/beat"): lambda _: web.Answer.of(Orders().to_json())}, "127.0.0.1", 0
    ) as s:
        yield s


def port(lead: asyncio.Server) -> int:
    return int(lead.sockets[0].getsockname()[1])


async def test_a_lead_whose_name_is_gone_is_reached_where_it_answered(names: Names, lead: asyncio.Server) -> None:
    link = HttpLink("lead.test", port(lead))
    assert await link.exchange(BEAT) == Orders()
    names.known = False  # the Service was deleted
    assert await link.exchange(BEAT) == Orders()


async def test_a_lead_that_never_answered_and_has_no_name_is_down(names: Names, lead: asyncio.Server) -> None:
    names.known = False
    with pytest.raises(LinkDownError, match=r"^lead\.test:\d+: Name or service not known"):
        await HttpLink("lead.test", port(lead)).exchange(BEAT)


async def test_a_lead_that_is_gone_with_its_name_is_down(names: Names, lead: asyncio.Server) -> None:
    link = HttpLink("lead.test", port(lead))
    await link.exchange(BEAT)
    names.known = False
    lead.close()
    await lead.wait_closed()
    with pytest.raises(LinkDownError, match=r"^lead\.test:\d+: .*Connect"):
        await link.exchange(BEAT)
