"""A proxy between a client and a storage server that does to chosen requests what networks and stores do.

It runs in a thread of its own. Requests are forwarded byte by byte, Host header included, so that signatures made
for the proxy's address stay valid.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from e2e.cluster import faults, httpwire
from e2e.cluster.errors import BedError
from e2e.cluster.exchange import AbortError, Exchange, Hook, Wiring, reset
from e2e.cluster.faults import Chosen, Fault, Rule
from e2e.cluster.httpwire import Head

_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the proxy saw it.

    `status`: of the answer that the client was given, or at least begun; None: none (yet), or a fault took it.
    `fault`: what befell it, empty where nothing did. `forwarded`: whether the server got it, at least in part.
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    time: float
    status: int | None = None
    fault: str = ""
    forwarded: bool = False


class FaultProxy:
    """`with FaultProxy(server.endpoint) as proxy:` then give clients `proxy.endpoint`.

    Args:
        target: `http://host:port` of the server. It need not be up: the client's connection is then reset.
        address: Where to listen: 127.0.0.1, or a bed's `host_address` for pods.
        port: 0 takes a free one.
        redirects: For each `host:port` that `Location` headers of the server name, the `host:port` to put there:
            another proxy in front of a WebHDFS data node, say.
        before_forward: Called with (number, method, path) before a request is forwarded; no other request moves until
            it returns. Requests are numbered from 1 in the order of their arrival. False: the request is lost.
        after_forward: The same when the server has begun its answer, of which the client has seen nothing.
            False: the answer is lost.
    """

    def __init__(
        self,
        target: str,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        redirects: Mapping[str, str] | None = None,
        before_forward: Hook | None = None,
        after_forward: Hook | None = None,
    ) -> None:
        host, _, target_port = target.removeprefix("http://").rstrip("/").rpartition(":")
        self._wiring = Wiring(
            (host, int(target_port)), dict(redirects or {}), before_forward, after_forward, self._note
        )
        self._address, self._port = address, port
        self._rules: list[Rule] = []
        self._seen: list[Seen] = []
        self._changed = threading.Condition()
        self._errors: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._started = threading.Event()

    @property
    def endpoint(self) -> str:
        """`http://host:port` for clients."""
        return f"http://{self.authority}"

    @property
    def authority(self) -> str:
        """`host:port` for clients."""
        return f"{self._address}:{self._port}"

    def on_forward(self, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Set the hooks, in place of those of the constructor."""
        self._wiring.before_forward, self._wiring.after_forward = before, after

    def start(self) -> FaultProxy:
        """Listen."""
        self._thread.start()
        if not self._started.wait(_START_S) or self._errors:
            raise BedError(f"the fault proxy cannot listen on {self.authority}: {self._errors}")
        return self

    def close(self) -> None:
        """Reset what is open and end; raises what a hook raised."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def fail(
        self, fault: Fault, *, method: str = "", path: str = "", times: int | None = 1, skip: int = 0, every: int = 1
    ) -> Rule:
        """Let a fault befall requests that match; see `Rule`. Returns the rule, whose `hits` tell how many it had."""
        re.compile(path)
        rule = Rule(fault, method, path, times, skip, every)
        with self._changed:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """End all faults. Requests that are held stay held."""
        with self._changed:
            for rule in self._rules:
                rule.remove()
            self._rules.clear()

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, in the order of their arrival."""
        with self._changed:
            return list(self._seen)

    def wait_for(self, method: str = "", path: str = "", *, count: int = 1, timeout_s: float = 10.0) -> list[Seen]:
        """Wait until `count` requests that match have arrived; returns them.

        Raises:
            TimeoutError: They did not; the message tells what did.
        """

        def matching() -> list[Seen]:
            return [r for r in self._seen if (not method or r.method == method) and re.search(path, r.path)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= count, timeout_s):
                came = [f"{r.method} {r.path}" for r in self._seen]
                raise TimeoutError(f"{len(matching())} of {count} {method} {path!r} after {timeout_s} s; came: {came}")
            return matching()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[Any]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._connection(reader, writer)
            finally:
                connections.discard(task)

        server = await asyncio.start_server(accept, self._address, self._port, limit=httpwire.HEAD_LIMIT_BYTES)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await httpwire.read_head(reader):
                number, chosen = self._arrived(head)
                if not await Exchange(self._wiring, number, chosen, head, reader, writer).run():
                    break
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        except (ConnectionError, AbortError, asyncio.CancelledError):
            reset(writer)
        except BaseException as error:
            self._errors.append(error)
            reset(writer)

    def _note(self, number: int, **changes: Any) -> None:
        with self._changed:
            self._seen[number - 1] = replace(self._seen[number - 1], **changes)
            self._changed.notify_all()

    def _arrived(self, head: Head) -> tuple[int, Chosen]:
        method, path, _ = head.first
        with self._changed:
            chosen = faults.choose(self._rules, method, path)
            number = len(self._seen) + 1
            names = [*(["Latency"] if chosen.latency_s else []), *(["Bandwidth"] if chosen.lines else [])]
            names += [type(chosen.fatal).__name__] if chosen.fatal else []
            self._seen.append(Seen(number, method, path, head.headers, time.time(), fault=" ".join(names)))
            self._changed.notify_all()
        return number, chosen
