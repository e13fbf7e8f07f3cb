"""`python -m paceline.tracking.serve`: TensorBoard itself over a run in S3, which grows meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.s3 import S3Server
from e2e.cluster.stores import free_port
from paceline import _contract as c
from paceline.agent import tfevents
from paceline.storage import resolve
from tests.support.agents import SDK, wait_for

pytestmark = pytest.mark.timeout(600)
BOARD_S = 120.0
NAME = tfevents.file_name(1.0, "host")


def steps(port: int) -> list[int]:
    """What TensorBoard's page is given for the chart of the loss."""
    url = f"http://127.0.0.1:{port}/experiment/defaultExperimentId/data/plugin/scalars/scalars?tag=loss&run=."
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            told: list[list[Any]] = json.loads(answer.read())
    except (OSError, ValueError):
        return []
    return [int(entry[1]) for entry in told]


def test_the_events_of_a_store_are_shown_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3Server.start_local(tmp_path / "s3")
    try:
        uri = server.make_bucket("board") + "/runs"
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        storage, path = resolve(f"{uri}/digits/{NAME}")
        events = tfevents.header(1.0) + tfevents.event(1.0, 1, [("loss", 0.5)])
        storage.write(path, events)
        port = free_port()
        env = {**os.environ, "PYTHONPATH": str(SDK), c.STORAGE_PATH: uri, c.EXPERIMENT_NAME: "digits"}
        command = [sys.executable, "-m", "paceline.tracking.serve", "--host", "127.0.0.1", "--period", "0.2"]
        with (tmp_path / "log").open("w") as log:
            board = subprocess.Popen([*command, "--port", str(port)], env=env, stdout=log, stderr=log)
        try:
            wait_for(lambda: steps(port) == [1] or board.poll() is not None, BOARD_S)
            assert board.poll() is None, (tmp_path / "log").read_text()
            storage.write(path, events + tfevents.event(2.0, 2, [("loss", 0.25)]))
            wait_for(lambda: steps(port) == [1, 2], BOARD_S)
            board.send_signal(signal.SIGTERM)
            assert board.wait(BOARD_S) == 0, (tmp_path / "log").read_text()
        finally:
            board.kill()
            board.wait()
    finally:
        server.stop()
