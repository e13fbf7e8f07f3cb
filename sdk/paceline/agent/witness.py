"""What this pod knows of the end of a training process, and whether that may be another one's fault."""

from __future__ import annotations

import time

from paceline import _contract as c
from paceline.agent import failure as failures
from paceline.agent import log
from paceline.agent.clock import rfc3339
from paceline.agent.failure import Failure
from paceline.agent.node import Node
from paceline.agent.oom import OomWatch
from paceline.agent.output import Output

_LAST_OUTPUT_S = 1.0
# The pod of the peer tells its failure within milliseconds, on a busy machine within some hundreds of them.
_PEER_S = 0.5

# How exceptions and libraries call it when the other end of a connection has gone: Python, Gloo, NCCL, gRPC.
_PEER_LOST = (
    "connectionreseterror",
    "connectionabortederror",
    "connectionrefusederror",
    "brokenpipeerror",
    "connection closed by peer",
    "connection reset by peer",
    "connection was likely closed",
    "remote process exited",
    "socket closed",
)


def lost_a_peer(failure: Failure) -> bool:
    """Whether a process ended since another one was gone, as far as its own words tell."""
    told = "\n".join((failure.type or "", failure.message, *failure.last_lines)).lower()
    return failure.reason == c.REASON_ERROR and any(words in told for words in _PEER_LOST)


class Witness:
    """Tells how processes ended, and which of their failures is the pod's own."""

    def __init__(self, node: Node, output: Output) -> None:
        self._node = node
        self._output = output
        self._oom = OomWatch()
        self._doubtful: tuple[Failure, float] | None = None  # with the time when it counts

    def failure(self, rank: int, returncode: int, *, wait_s: float = 0.0) -> Failure:
        """Describe the end of a process.

        Args:
            returncode: As `subprocess` tells it; negative: a signal.
            wait_s: How long to wait for the end of its output.
        """
        now = rfc3339(time.time())
        self._output.wait(rank, wait_s)
        return failures.from_exit(
            rank,
            returncode,
            time=now,
            exception=self._node.exceptions.get(rank),
            last_lines=self._output.last_lines(rank),
            refused=self._node.orders.no_checkpoints,
            out_of_memory=self._oom.struck(),
        )

    def first_failure(self, rank: int, returncode: int) -> Failure | None:
        """Describe it, as `failure` does; None while another pod may have failed before: `late` tells it then."""
        found = self.failure(rank, returncode, wait_s=_LAST_OUTPUT_S)
        if not lost_a_peer(found):
            self._doubtful = None
            return found
        log.say(f"{found.sentence}; another worker may have failed before it")
        self._doubtful = self._doubtful or (found, time.monotonic() + _PEER_S)
        return None

    @property
    def in_doubt(self) -> bool:
        """Whether a failure waits for another pod's word."""
        return self._doubtful is not None

    def late(self) -> Failure | None:
        """The failure that waited, once it has waited for long enough."""
        if self._doubtful is None or time.monotonic() < self._doubtful[1]:
            return None
        found, self._doubtful = self._doubtful[0], None
        return found

    def acquit(self) -> None:
        """Another one came first."""
        self._doubtful = None

    def with_stacks(self, stop: Failure | None) -> Failure | None:
        """A stall is seen by the lead; what the process itself had to say stands in its own pod."""
        if stop is None or stop.reason != c.REASON_STALLED or stop.rank not in self._node.ranks:
            return stop
        assert stop.rank is not None
        self._output.wait(stop.rank, _LAST_OUTPUT_S)
        return failures.with_stacks(stop, self._output.last_lines(stop.rank))
