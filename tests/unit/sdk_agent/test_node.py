"""Does a pod stay awake while its disk is slow?"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

from paceline.agent.beat import Beat, Orders
from paceline.agent.channel import Channel, Connection
from paceline.agent.config import AgentConfig
from paceline.agent.node import Node
from paceline.agent.staging import Staged
from tests.support.timeouts import LOCAL_S


class Settling:
    """A lead that settles the first round at once, and says goodbye to who is done."""

    async def exchange(self, beat: Beat) -> Orders:
        return Orders(ready=True, settled=0, goodbye=beat.done)


async def test_settled_files_are_removed_beside_the_other_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    remove = Staged.remove

    def slowly(staged: Staged) -> None:
        begun.set()
        assert go_on.wait(LOCAL_S)
        remove(staged)

    monkeypatch.setattr(Staged, "remove", slowly)
    node = Node(AgentConfig(("x",), tmp_path), Settling(), reported=lambda *_: None, changed=lambda: None)
    given = node.staging / "one"
    given.mkdir(parents=True)
    (given / "model").write_bytes(b"abc")
    ours, process = socket.socketpair()
    with ours, process:
        connection = Connection(Channel(tmp_path / "unused", node.received, lambda _: None), ours)
        connection.rank = 0
        node.received(connection, {"t": "r", "m": {"loss": 1.0}, "w": 0.0, "c": str(given)})

    running = asyncio.create_task(node.run())
    until = time.monotonic() + LOCAL_S
    while not begun.is_set():
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    assert not node.idle, "the files still take space"
    go_on.set()
    node.done = True
    await asyncio.wait_for(running, LOCAL_S)
    assert node.idle
    assert not given.exists()
    node.close()
