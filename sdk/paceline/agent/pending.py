"""Checkpoints of this pod that wait for the store, and the processes that wait for them.

At most `max_pending` of them may wait; a process that comes with one more is held. Only rounds that every rank has
reached count: such a round is settled whatever the held process does next, so nobody waits for himself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from paceline.agent.beat import Offer, Orders
from paceline.agent.staging import Staged
from paceline.agent.waiting import until_set

# A rank that is a little behind reaches its report within this time; then the space of that round comes free.
_STRAGGLER_S = 30.0
_TICK_S = 1.0


class Pending:
    """Used from the event loop only."""

    def __init__(
        self, max_pending: int, *, ask_lead: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with nothing.

        Args:
            ask_lead: Makes the next exchange with the lead happen at once.
        """
        self._max_pending = max_pending
        self._ask_lead = ask_lead
        self._clock = clock
        self._staged: dict[tuple[int, int], Staged] = {}  # (round, rank)
        self._reached = 0
        self._removed = 0
        self._asked: dict[int, int] = {}  # round -> how many wait for its outcome
        self._outcomes: dict[int, Mapping[str, Any]] = {}
        self._failed = ""
        self._change = asyncio.Event()
        self._held: list[float] = []  # since when each held process waits
        self._held_s = 0.0

    # --- what is staged ------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of staged reports."""
        return len(self._staged)

    def add(self, round_: int, rank: int, staged: Staged) -> None:
        """A rank gave files with its report `round_`."""
        self._staged[round_, rank] = staged

    def of(self, round_: int) -> dict[int, Staged]:
        """Rank -> its files of one round."""
        return {rank: staged for (n, rank), staged in self._staged.items() if n == round_}

    def named(self, name: str) -> set[int]:
        """Rounds that shall have this directory."""
        return {n for (n, _), staged in self._staged.items() if staged.name == name}

    def offers(self) -> tuple[Offer, ...]:
        """For the beat."""
        return tuple(
            Offer(n, rank, staged.sizes, staged.name, staged.external)
            for (n, rank), staged in sorted(self._staged.items())
        )

    @property
    def rounds(self) -> set[int]:
        """Rounds that are not settled."""
        return {n for n, _ in self._staged}

    @property
    def size_bytes(self) -> int:
        """Bytes that are staged."""
        return sum(sum(staged.sizes.values()) for staged in self._staged.values())

    @property
    def held_s(self) -> float:
        """Seconds that processes were held, all together."""
        now = self._clock()
        return self._held_s + sum(now - since for since in self._held)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Rounds whose outcome is asked for."""
        return tuple(sorted(n for n in self._asked if n not in self._outcomes))

    def settled_by(self, orders: Orders) -> list[Staged]:
        """What the lead's answer settles: to be removed before `take_note`, which tells of the space."""
        return [staged for (n, _), staged in self._staged.items() if n <= orders.settled]

    def take_note(self, orders: Orders) -> list[int]:
        """Follow the lead's answer; the rounds that are settled by it come back."""
        self._reached = orders.reached
        for round_, outcome in orders.outcomes.items():
            if round_ in self._asked:
                self._outcomes[round_] = outcome
        gone = [key for key in self._staged if key[0] <= orders.settled]
        for key in gone:
            del self._staged[key]
        self._removed += len(gone)
        if orders.stop is not None and not self._failed:
            self._failed = orders.stop.sentence
        self._notify()
        return sorted({n for n, _ in gone})

    def fail(self, why: str) -> None:
        """Nothing more will be stored: tell those who wait."""
        self._failed = self._failed or why
        self._notify()

    # --- those who wait ------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether one more checkpoint may come, as far as this pod knows."""
        return len(self.rounds) < self._max_pending

    async def room(self) -> str:
        """Wait until one more checkpoint may come. A text that comes back says why none may."""
        since = self._clock()
        self._held.append(since)
        try:
            if not self.has_room():
                await self._fresh()
            while not self._failed and self._complete() >= self._max_pending:
                await self._changed()
            return self._failed
        finally:
            self._held.remove(since)
            self._held_s += self._clock() - since

    async def freed(self) -> bool:
        """Wait until the store has taken something, so that there is more space on the disk. False: nothing will."""
        before, begun = self._removed, self._clock()
        await self._fresh()
        while self._removed == before:
            straggling = self._clock() - begun > _STRAGGLER_S and not self._complete()
            if self._failed or not self._staged or straggling:
                return False
            await self._changed()
        return True

    async def outcome(self, round_: int) -> Mapping[str, Any]:
        """Wait until a round is settled: `{"commit": ...}` or `{"error": why}`."""
        self._asked[round_] = self._asked.get(round_, 0) + 1
        self._ask_lead()
        try:
            while round_ not in self._outcomes:
                if self._failed:
                    return {"error": f"the checkpoint was not stored, since the run ended: {self._failed}"}
                await self._changed()
            return self._outcomes[round_]
        finally:
            self._asked[round_] -= 1
            if not self._asked[round_]:
                del self._asked[round_]
                self._outcomes.pop(round_, None)

    def _complete(self) -> int:
        return sum(n < self._reached for n in self.rounds)

    async def _fresh(self) -> None:
        """Let the lead tell how far all ranks are."""
        self._ask_lead()
        await self._changed()

    async def _changed(self) -> None:
        await until_set(self._change, _TICK_S)

    def _notify(self) -> None:
        event, self._change = self._change, asyncio.Event()
        event.set()
