"""Signs of life go through while both agents' event loops are held."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paceline.agent import pulse, serving
from paceline.agent.config import AgentConfig
from paceline.agent.lead import Lead
from paceline.agent.pulse import Pulse
from paceline.agent.server import Server
from tests.support.timeouts import LOCAL_S

ABOUT: dict[str, str | int] = {"runId": "run-1", "attempt": 3, "nodeRank": 1}


class Felt(Lead):
    """A lead that notes when it feels whom."""

    def __init__(self, directory: Path) -> None:
        self.config = AgentConfig(("x",), directory, world_size=2, run_id="run-1", attempt=3)
        super().__init__(self.config)
        self.pulses: list[int] = []

    def felt(self, node: int) -> None:
        self.pulses.append(node)


@pytest.fixture
def lead(tmp_path: Path) -> Felt:
    return Felt(tmp_path)


@pytest.fixture
async def port(lead: Felt, unused_tcp_port: int) -> AsyncIterator[int]:
    routes = serving.routes(lead.config, lead, status=dict, figures=dict)
    server = Server(routes, serving.routes_at_once(lead.config, lead))
    await server.start("127.0.0.1", unused_tcp_port)
    yield unused_tcp_port
    server.close()


def sent(port: int, about: dict[str, str | int], monkeypatch: pytest.MonkeyPatch, *, last_beat: float) -> Pulse:
    """A pulse of a pod, after the time of a few of them, in which this event loop was held."""
    monkeypatch.setattr(pulse, "_LOOK_S", 0.01)
    monkeypatch.setattr(pulse, "_QUIET_S", 0.05)
    given = Pulse(about, lead=lambda: ("127.0.0.1", port), last_beat=lambda: last_beat)
    given.start()
    end = time.monotonic() + 1.0
    while not given.answered and time.monotonic() < end:
        time.sleep(0.01)
    given.close()
    return given


async def test_a_pulse_is_answered_while_the_loops_are_held(
    lead: Felt, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent(port, ABOUT, monkeypatch, last_beat=time.monotonic() - 1).answered
    assert set(lead.pulses) == {1}


@pytest.mark.parametrize(
    "about",
    [{**ABOUT, "attempt": 2}, {**ABOUT, "runId": "another"}, {"runId": "run-1"}],
    ids=["attempt", "run", "nonsense"],
)
async def test_a_pulse_of_another_attempt_is_none(
    about: dict[str, str | int], lead: Felt, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sent(port, about, monkeypatch, last_beat=time.monotonic() - 1).answered
    assert not lead.pulses


async def test_while_beats_get_through_there_is_none(lead: Felt, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not sent(port, ABOUT, monkeypatch, last_beat=time.monotonic() + LOCAL_S).answered
    assert not sent(port, ABOUT, monkeypatch, last_beat=0.0).answered, "never heard: the start has limits of its own"
    assert not lead.pulses


async def test_every_other_request_waits_for_the_loop(lead: Felt, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), LOCAL_S)
    writer.close()
    assert answer.endswith(b"ok\n")


async def test_a_port_that_is_taken_is_told(lead: Felt, port: int) -> None:
    second = Server({}, {})
    with pytest.raises(OSError, match=str(port)):
        await second.start("127.0.0.1", port)
    second.close()


def test_the_names_of_a_pulse(tmp_path: Path) -> None:
    lead = Felt(tmp_path)
    route = serving.routes_at_once(lead.config, lead)["POST", pulse.PATH]
    assert route(json.dumps(ABOUT).encode()).status == 200
    assert serving.routes_at_once(lead.config, None)["POST", pulse.PATH](b"{}").status == 404
