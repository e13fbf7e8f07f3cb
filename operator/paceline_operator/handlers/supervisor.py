"""Keeps kopf going. It ends on errors that pass (410, 403, 503): it is started again, and the queue keeps its state.

kopf has a thread and an event loop of its own: when it ends, it cancels every task of its loop that it did not find at
its start, so it must not share ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

import kopf
import uvloop
from kopf._core.engines.peering import Identity  # a NewType of str; not exported (kopf 1.45)

from paceline_operator.cluster.access import Access
from paceline_operator.handlers import trainjobs

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
# It ran longer than this: the next failure begins a new series.
STEADY_S = 60.0


class Supervisor:
    """kopf in a thread."""

    def __init__(self, access: Access, namespaces: Sequence[str], feed: trainjobs.Feed) -> None:
        self._access = access
        self._namespaces = list(namespaces)
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._watching = threading.Event()
        self.restarts = 0

    @property
    def problem(self) -> str:
        """What keeps TrainJobs from being seen; empty while they are watched."""
        return "" if self._watching.is_set() else "TrainJobs are not watched: see the log"

    async def run(self) -> None:
        """Run kopf until cancelled; start it again when it ends."""
        backoff_s = FIRST_BACKOFF_S
        trainjobs.quiet()
        while True:
            began = self._loop.time()
            ended = asyncio.Event()
            thread = threading.Thread(target=self._kopf, args=(ended,), name="kopf", daemon=True)
            thread.start()
            try:
                await ended.wait()
            except asyncio.CancelledError:
                self._ask_to_stop()
                await asyncio.to_thread(thread.join, 5.0)
                raise
            if self._loop.time() - began > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            self.restarts += 1
            wait = backoff_s * random.uniform(0.7, 1.0)
            log.warning("the watch of TrainJobs ended; starting it again in %.1f s", wait)
            await asyncio.sleep(wait)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _kopf(self, ended: asyncio.Event) -> None:
        try:
            uvloop.run(self._operator())
        except Exception:
            log.exception("the watch of TrainJobs failed")
        finally:
            self._watching.clear()
            try:
                self._loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                log.debug("the loop is closed already")

    def _ask_to_stop(self) -> None:
        self._stopping = True
        if self._stop is not None:
            loop, stop = self._stop
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                log.debug("kopf has ended already")

    async def _operator(self) -> None:
        # Not a threading.Event: kopf waits for one in a thread that outlives its failures, and with it the loop.
        stop = asyncio.Event()
        self._stop = (asyncio.get_running_loop(), stop)
        if self._stopping:
            return
        await kopf.operator(
            registry=trainjobs.registry(self._access, self._hand_over),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            # kopf would make one from the user's name, and a container's uid has none.
            identity=Identity("paceline-operator"),
            stop_flag=stop,
            ready_flag=self._watching,
        )

    def _hand_over(self, type: str | None, body: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._feed, type, body)
