"""Between an operator and the API server: latency, lost replies, refusals, watches that lag, break and repeat."""

from __future__ import annotations

import asyncio
import json
import random
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec

from paceline_operator.cluster.access import Access
from paceline_operator.cluster.client import ApiError, Client, UnreachableError
from tests.simulation.api import Api, Event, parse

if TYPE_CHECKING:
    from tests.simulation.operators import Process

BOOKMARK_S = 60.0
_encode, _decode = msgspec.json.encode, msgspec.json.decode
_EXPIRED = b'{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}'


@dataclass(slots=True)
class Network:
    """What goes wrong with requests and watches, for all operators alike."""

    loop: asyncio.AbstractEventLoop
    api: Api
    chance: random.Random
    lag: dict[str, float]
    """Seconds by which the watch of a kind lags behind."""
    numbered: dict[int, str] = field(default_factory=dict)
    """What goes wrong with the n-th write."""
    armed: deque[tuple[str, float]] = field(default_factory=deque)
    """What goes wrong with the next writes: kind, and seconds where it has some."""
    slow_until: float = 0.0
    slow_s: float = 0.0
    down_until: float = 0.0
    writes: list[str] = field(default_factory=list)
    missed: int = 0
    """Writes to what is not there any more: kopf does not tell of what is deleted between a watch and the next list."""
    streams: list[Stream] = field(default_factory=list)
    struck: Callable[[str], None] = lambda kind: None
    """Told of each write that went wrong."""
    agents: Callable[[str], bytes] = lambda pod: b""
    """Answers for the agent of a pod. Raises ApiError."""

    def latency(self) -> float:
        """Seconds that a request is under way."""
        if self.loop.time() < self.slow_until:
            return self.chance.uniform(0.1, 1.0) * self.slow_s
        return self.chance.uniform(0.001, 0.02)

    def fault(self, method: str, path: str) -> tuple[str, float]:
        """Number a write; return what goes wrong with it."""
        self.writes.append(f"{method} {path}")
        kind, seconds = self.numbered.get(len(self.writes), ""), 1.0
        if not kind and self.armed:
            kind, seconds = self.armed.popleft()
        # The API server refuses deletions with 409 for a uid alone, and knows no 403 but for creations.
        if (kind == "conflict" and method == "DELETE") or (kind == "refused" and method != "POST"):
            kind = "error"
        if kind:
            self.struck(kind)
        return kind, seconds

    def disturb(self, kind: str, trouble: str, again: int = 0) -> None:
        """Break the watches of a kind: `broken`, `expired` (410), with events told once more after it."""
        if trouble == "expired":
            self.api.forgotten[kind] = self.api.version
        for stream in [stream for stream in self.streams if stream.kind == kind]:
            stream.again(again) if again else stream.end(trouble)


class Stream:
    """One watch."""

    def __init__(self, network: Network, kind: str, version: int) -> None:
        self.kind = kind
        self._network = network
        self._log = network.api.log[kind]
        self._next = bisect_right(self._log, version, key=lambda event: event.version)
        self._trouble = ""
        self._wake: asyncio.Future[None] | None = None

    async def events(self) -> AsyncIterator[Event | None]:
        """Yield what happens, and None where all was told for a minute. Raises UnreachableError or ApiError 410."""
        network = self._network
        while True:
            if self._trouble == "expired":
                raise ApiError(410, "Expired", "too old resource version")
            if self._trouble:
                raise UnreachableError(f"watch of {self.kind}: the connection broke")
            if self._next == len(self._log):
                if not await self._sleep(BOOKMARK_S):
                    yield None
                continue
            event = self._log[self._next]
            wait = event.at + network.lag.get(self.kind, 0.0) - network.loop.time()
            if wait > 1e-9:
                await self._sleep(wait)
                continue
            self._next += 1
            yield event

    def wake(self) -> None:
        """Something happened."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def end(self, trouble: str) -> None:
        """Break off."""
        self._trouble = trouble
        self.wake()

    def again(self, events: int) -> None:
        """Tell the last events once more."""
        self._next = max(0, self._next - events)
        self.wake()

    async def _sleep(self, seconds: float) -> bool:
        """Return whether something happened meanwhile."""
        self._wake = self._network.loop.create_future()
        timer = self._network.loop.call_later(seconds, self._timed_out, self._wake)
        try:
            await self._wake
            return not timer.cancelled() and timer.when() > self._network.loop.time() + 1e-9
        finally:
            timer.cancel()

    def _timed_out(self, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_result(None)


class SimulatedClient(Client):
    """The operator's own client, retries and all, on this network."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    @property
    def chance(self) -> random.Random:
        """What is left to chance."""
        return self._network.chance

    @property
    def access(self) -> Access:
        """Outside the cluster: agents are reached through the API server."""
        return cast("Access", SimpleNamespace(in_cluster=False))

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        params: Mapping[str, str] | None,
        content_type: str,
        timeout_s: float | None,
        accept: str | None,
    ) -> bytes:
        network, process = self._network, self._process
        await self._travel()
        if network.loop.time() < network.down_until:
            await asyncio.sleep(1.0)
            raise UnreachableError(f"{method} {path}: connection refused")
        if "/proxy/" in path:
            return network.agents(path.split("/")[6].partition(":")[0])
        if method == "GET":
            kind, name = parse(path)
            if kind == "pods" and not name:
                process.listed()
            if not name and process.stale_s and kind not in network.api.unserved:
                return _encode(network.api.listed(kind, network.loop.time() - process.stale_s))
            return _encode(network.api.handle(method, path, None))
        kind, seconds = network.fault(method, path)
        _refuse(kind, seconds)
        wanted = _decode(body) if body else {}
        process.requested(method, path, wanted)
        try:
            answer = network.api.handle(method, path, wanted)
        except ApiError as error:
            network.missed += error.code == 404
            raise
        process.wrote()
        if kind == "crash":
            process.kill()
        if process.dead or network.chance.random() < 0.3:
            await self._travel()
        if kind == "lost":
            raise UnreachableError(f"{method} {path}: connection reset")
        if kind == "gateway":
            raise ApiError(504, "Timeout", "the request timed out")
        return _encode(answer)

    async def _travel(self) -> None:
        """Take the time of a request on its way. Of a dead process none gets there, and no answer comes back."""
        if not self._process.dead:
            await asyncio.sleep(self._network.latency())
        if self._process.dead:
            raise asyncio.CancelledError

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As the client's own."""
        async with self.watch(path.rsplit("/", 1)[1], int(params["resourceVersion"])) as stream:
            yield self._lines(stream)

    @asynccontextmanager
    async def watch(self, kind: str, version: int) -> AsyncIterator[Stream]:
        """Open a watch of a kind. Raises as `stream`."""
        network = self._network
        await asyncio.sleep(network.latency())
        if network.loop.time() < network.down_until:
            raise UnreachableError(f"watch of {kind}: connection refused")
        if version < network.api.forgotten.get(kind, 0):
            raise ApiError(410, "Expired", "too old resource version")
        stream = Stream(network, kind, version)
        network.streams.append(stream)
        try:
            yield stream
        finally:
            network.streams.remove(stream)

    async def _lines(self, stream: Stream) -> AsyncIterator[bytes]:
        try:
            async for event in stream.events():
                yield event.line if event else self._bookmark()
        except ApiError:
            # An open watch is told in an event of its own.
            yield _EXPIRED

    def _bookmark(self) -> bytes:
        version = str(self._network.api.version)
        return json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}).encode()


def _refuse(kind: str, seconds: float) -> None:
    """Raise what is answered instead of carrying the request out."""
    if kind == "error":
        raise ApiError(500, "InternalError", "etcd has no leader")
    if kind == "conflict":
        raise ApiError(409, "Conflict", "the object has been modified")
    if kind == "throttle":
        raise ApiError(429, "TooManyRequests", "too many requests")
    if kind == "later":
        raise ApiError(429, "TooManyRequests", "too many requests", seconds or 1.0)
    if kind == "refused":
        raise ApiError(403, "Forbidden", "pods is forbidden: the webhook of somebody refuses")
    assert kind in ("", "crash", "lost", "gateway"), kind
