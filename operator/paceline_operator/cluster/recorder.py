"""Events for `kubectl describe`: few, counted where they repeat, and never in the way of the work."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from paceline.api import TrainJob, names
from paceline_operator.cluster.client import MERGE_PATCH, ApiError, UnreachableError
from paceline_operator.cluster.executor import Api
from paceline_operator.planning import Note

log = logging.getLogger(__name__)

COMPONENT = "paceline"
MAX_MESSAGE = 1024
MAX_WAITING = 10_000
REMEMBERED = 4096
# A note that repeats within this time counts up the Event on the API server instead of adding one.
SAME_STORY = timedelta(minutes=10)
# The same problem again and again is written at most this often.
QUIET = timedelta(seconds=30)
LEISURE_S = 0.05


@dataclass(slots=True)
class _Posted:
    name: str
    count: int
    at: datetime


class Recorder:
    """Posts Events in the background, one at a time."""

    def __init__(self, api: Api, instance: str, now: Callable[[], datetime], busy: Callable[[], bool]) -> None:
        self._api = api
        self._instance = instance
        self._now = now
        self._busy = busy
        self._waiting: asyncio.Queue[tuple[TrainJob, Note, datetime]] = asyncio.Queue(MAX_WAITING)
        self._posted: OrderedDict[tuple[str, Note], _Posted] = OrderedDict()

    def post(self, job: TrainJob, note: Note) -> None:
        """Hand over a note. It is written later; when too many wait, it is dropped and logged."""
        try:
            self._waiting.put_nowait((job, note, self._now()))
        except asyncio.QueueFull:
            log.warning("too many events wait, one is dropped: %s", note.message)

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            job, note, at = await self._waiting.get()
            while self._busy() and self._now() - at < timedelta(seconds=10):  # noqa: ASYNC110
                await asyncio.sleep(LEISURE_S)
            await self._write(job, note, at)
            self._waiting.task_done()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all is posted, `timeout_s` at most."""
        try:
            await asyncio.wait_for(self._waiting.join(), timeout_s)
        except TimeoutError:
            log.warning("%d events were not posted before the stop", self._waiting.qsize())

    async def _write(self, job: TrainJob, note: Note, at: datetime) -> None:
        known = self._posted.get((job.uid, note))
        path = f"/api/v1/namespaces/{job.namespace}/events"
        try:
            if known is not None and at - known.at < SAME_STORY:
                if at - known.at < QUIET:
                    return
                known.count, known.at = known.count + 1, at
                patch = {"count": known.count, "lastTimestamp": _stamp(at)}
                body = msgspec.json.encode(patch)
                await self._api.request("PATCH", f"{path}/{known.name}", body, content_type=MERGE_PATCH)
                return
            name = f"{job.name}.{uuid4().hex[:16]}"
            await self._api.request("POST", path, msgspec.json.encode(self._event(name, job, note, at)))
        except (ApiError, UnreachableError) as error:
            # A namespace that is going takes no events, and a lost event changes nothing but the story.
            log.info("event %s of %s/%s was not posted: %s", note.reason, job.namespace, job.name, error)
            return
        self._posted[(job.uid, note)] = _Posted(name, 1, at)
        if len(self._posted) > REMEMBERED:
            self._posted.popitem(last=False)

    def _event(self, name: str, job: TrainJob, note: Note, at: datetime) -> dict[str, Any]:
        message = note.message if len(note.message) <= MAX_MESSAGE else f"{note.message[: MAX_MESSAGE - 1]}…"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": job.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": job.namespace,
                "name": job.name,
                "uid": job.uid,
                "resourceVersion": job.metadata.resource_version,
            },
            "type": note.type,
            "reason": note.reason,
            "message": message,
            "firstTimestamp": _stamp(at),
            "lastTimestamp": _stamp(at),
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
