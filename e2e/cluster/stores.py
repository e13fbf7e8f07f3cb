"""What the storage servers of tests have in common: one process on a directory, started, crashed and started again."""

from __future__ import annotations

import shutil
import socket
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from e2e.cluster.processes import BedProcess

Store = TypeVar("Store", bound="StorageServer")


class StorageServer(ABC):
    """One server with its data, log and record below `folder`.

    Data survives `stop`, `kill` and `restart`. A standalone server is ended by leaving its `with` block, or by `stop`.
    """

    def __init__(self, process: BedProcess, folder: Path, address: str) -> None:
        self.process = process
        self.folder = folder
        self.address = address
        process.ready = self.answers

    @abstractmethod
    def command(self) -> tuple[Sequence[str], dict[str, str]]:
        """The command line that serves this folder and port, and the variables it needs."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves requests."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables with which the usual clients find this server."""

    def start(self) -> None:
        """Start it (again) on the same port and data."""
        if self.process.pid is None:
            self.launch()
            self.process.wait_ready()

    def launch(self) -> None:
        """Begin to start it; `process.wait_ready()` waits for the rest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process.start(*self.command())

    def stop(self) -> None:
        """End it. The data stays."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Crash it and start it again."""
        self.kill()
        self.start()

    def remove(self) -> None:
        """End it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self: Store) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers_http(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
