"""The processes of one pod, told to stop: after which of their questions shall they leave?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from paceline._stop_page import ASKED, HOLD, STOP_AT, create

# Between the order to wait and the look at how far each process is. A processor shows its writes to others within
# microseconds: after this, a process whose question is not seen has not asked it yet, and will see the order.
SETTLE_S = 0.02


class Stopping:
    """Of one pod. Its processes share a page with it each (`should_stop()`)."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            directory: For the pages.
        """
        self._directory = directory
        self._clock = clock
        self._pages: dict[int, memoryview] = {}
        self._held: float | None = None

    def open(self, ranks: Iterable[int]) -> None:
        """Make the pages.

        Raises:
            OSError: The directory cannot be used.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        for rank in ranks:
            self._pages[rank] = create(str(self.path(rank)))

    def path(self, rank: int) -> Path:
        """The page of a process."""
        return self._directory / f"rank-{rank}"

    @property
    def asks(self) -> bool:
        """Whether some process has ever asked whether to stop."""
        return any(page[ASKED] for page in self._pages.values())

    def hold(self) -> None:
        """From now on no process gets an answer before `decide`."""
        if self._held is None:
            self._held = self._clock()
            for page in self._pages.values():
                page[HOLD] = 1

    @property
    def asked(self) -> int | None:
        """The most questions that a process has asked and may have got an answer to; None before that is certain."""
        if self._held is None or self._clock() - self._held < SETTLE_S:
            return None
        return max((page[ASKED] for page in self._pages.values()), default=0)

    def decide(self, stop_at: int) -> None:
        """Answer yes from this question on."""
        for page in self._pages.values():
            page[STOP_AT] = stop_at


class Agreement:
    """In the lead: the question after which every rank leaves. Pure.

    First all pods hold their processes at the next question, and tell how many were asked. No process can have had an
    answer to a later question than the next one after those; from that one on the answer is yes everywhere.
    """

    def __init__(self, nodes: int) -> None:
        """Nothing is to stop yet.

        Args:
            nodes: Pods of the attempt.
        """
        self._nodes = nodes
        self._since: float | None = None
        self._asked: dict[int, int] = {}
        self._over: set[int] = set()
        self.asks = False  # whether any process of the group asks at all
        self.stop_at = 0

    @property
    def hold(self) -> bool:
        """Whether the group is told to stop."""
        return self._since is not None

    def leave(self, now: float) -> None:
        """A pod got SIGTERM."""
        if self._since is None:
            self._since = now

    def heard(self, node: int, *, asks: bool, asked: int | None, over: bool) -> None:
        """What a pod tells of itself.

        Args:
            over: Its processes have all ended.
        """
        self.asks = self.asks or asks
        if asked is not None:
            self._asked[node] = asked
        if over:
            self._over.add(node)

    def decide(self, now: float, *, patience_s: float) -> Mapping[str, int] | None:
        """Decide once all have told, or after `patience_s`; what is decided comes back once, to be logged."""
        if self._since is None or self.stop_at:
            return None
        missing = set(range(self._nodes)) - self._asked.keys() - self._over
        if missing and now - self._since <= patience_s:
            return None
        self.stop_at = max(self._asked.values(), default=0) + 1
        return {"stop_at": self.stop_at, "missing": len(missing)}
