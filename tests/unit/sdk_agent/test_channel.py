from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.agent.channel import Channel, Connection


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        yield Path(short)


async def test_drain_takes_all_that_a_dead_process_has_sent_before_the_loop_has_its_turn(directory: Path) -> None:
    seen: list[Any] = []
    channel = Channel(directory, lambda connection, message: seen.append((connection.rank, message)), lambda text: None)
    channel.open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as process:
        process.connect(str(channel.path))
        process.setblocking(False)
        process.sendall(b'{"t":"hello","rank":3}\n')
        for i in range(100):
            process.sendall(json.dumps({"t": "r", "i": i, "pad": "x" * 300}).encode() + b"\n")
    assert seen == []
    channel.drain()
    assert [message["i"] for _, message in seen[1:]] == list(range(100))
    assert {rank for rank, _ in seen} == {3}
    channel.close()
    assert os.listdir(directory) == []  # noqa: PTH208


async def test_nonsense_is_told_and_the_connection_lives_on(directory: Path) -> None:
    seen: list[Any] = []
    told: list[str] = []

    def handle(connection: Connection, message: dict[str, Any]) -> None:
        if message["t"] == "bad":
            raise ValueError("bad")
        seen.append(message["t"])

    channel = Channel(directory, handle, told.append)
    channel.open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as process:
        process.connect(str(channel.path))
        process.sendall(b'{"t":"hello","rank":0}\nnonsense\n{"t":"bad"}\n[1]\n{"t":"r"}\n{"cut')
    channel.drain()
    assert seen == ["hello", "r"]
    assert len(told) == 3
    channel.close()


async def test_a_path_that_is_too_long_for_a_socket_leaves_nothing_elsewhere(directory: Path) -> None:
    seen: list[Any] = []
    channel = Channel(directory / ("d" * 100), lambda _, message: seen.append(message["t"]), seen.append)
    channel.open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as process:
        process.connect(str(channel.path))
        process.sendall(b'{"t":"hello","rank":0}\n')
    channel.drain()
    assert seen == ["hello"]
    channel.close()
    assert not channel.path.parent.exists()
