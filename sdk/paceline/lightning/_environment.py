"""`LightningEnvironment`: ranks and world size as Paceline set them."""

from __future__ import annotations

import os
import socket
from functools import cached_property
from typing import ClassVar

from paceline import _contract as c
from paceline.lightning._package import Late
from paceline.train import get_context


class LightningEnvironment(Late):
    """Tells a Trainer that its process is one rank of a run, so that it starts no others. Pass it in `plugins`."""

    _base: ClassVar[str] = "plugins.environments.ClusterEnvironment"

    @property
    def creates_processes_externally(self) -> bool:
        """Yes: Paceline has started every process."""
        return True

    @staticmethod
    def detect() -> bool:
        """Whether this process is a worker of Paceline."""
        return bool(os.environ.get(c.AGENT_SOCKET))

    @property
    def main_address(self) -> str:
        """Host of rank 0."""
        return os.environ.get(c.MASTER_ADDR) or "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Port of rank 0's store; outside a worker a free one."""
        return int(os.environ.get(c.MASTER_PORT) or self._free_port)

    @cached_property
    def _free_port(self) -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    def world_size(self) -> int:
        """Number of processes in the run."""
        return get_context().get_world_size()

    def set_world_size(self, size: int) -> None:
        """Nothing: Paceline has set it."""

    def global_rank(self) -> int:
        """Number of this process among all."""
        return get_context().get_world_rank()

    def set_global_rank(self, rank: int) -> None:
        """Nothing: Paceline has set it."""

    def local_rank(self) -> int:
        """Number of this process in its pod."""
        return get_context().get_local_rank()

    def node_rank(self) -> int:
        """Number of this pod."""
        return get_context().get_node_rank()

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Nothing: what a Trainer is given of devices and nodes does not change who trains."""

    def teardown(self) -> None:
        """Nothing: Paceline ends the processes."""
