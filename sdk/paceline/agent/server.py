"""The agent's HTTP server, in a thread with an event loop of its own.

It answers signs of life (`pulse.py`) while the agent's loop is held by something else; every other request is answered
in the agent's loop, where the state lives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping

from paceline.agent import web

_STOP_S = 2.0


class Server:
    """Made and started in the agent's loop."""

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Callable[[bytes], web.Answer]],
        at_once: Mapping[tuple[str, str], Callable[[bytes], web.Answer]],
    ) -> None:
        """Prepare.

        Args:
            routes: Answered in the agent's loop.
            at_once: Answered in the thread: they may touch nothing but what is safe there.
        """
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._routes: dict[tuple[str, str], web.Route] = {**{k: self._at_home(r) for k, r in routes.items()}, **at_once}
        self._listening: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="paceline-http", daemon=True)

    async def start(self, host: str | None, port: int) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
        """
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(web.serve(self._routes, host, port), self._loop)
        self._listening = await asyncio.wrap_future(listening)

    @property
    def port(self) -> int:
        """Where it listens; of a port that was given as 0, what the kernel chose."""
        assert self._listening is not None, "start() comes first"
        return int(self._listening.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop; what is being answered is cut off."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        if self._listening is not None:
            self._listening.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _at_home(self, route: Callable[[bytes], web.Answer]) -> Callable[[bytes], Awaitable[web.Answer]]:
        async def there(body: bytes) -> web.Answer:
            return route(body)

        async def answer(body: bytes) -> web.Answer:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(body), self._home))

        return answer
