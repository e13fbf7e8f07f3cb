"""`/metrics`, `/healthz` and `/readyz` over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from paceline_operator.metrics import CONTENT_TYPE, Metrics


class Health:
    """Alive while all parts run; ready once the caches are filled (a standby is ready too)."""

    def __init__(self) -> None:
        self.problem = ""
        """Why it should be restarted; empty: it is well."""
        self.ready: Callable[[], str] = lambda: "starting"
        """Returns what is still missing; empty: ready."""


@asynccontextmanager
async def serve(port: int, health: Health, metrics: Metrics) -> AsyncIterator[None]:
    """Serve while the block runs.

    Raises:
        OSError: The port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.problem)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.problem or health.ready())

    async def metrics_text(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics_text)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


def _answer(problem: str) -> web.Response:
    return web.Response(text=problem or "ok", status=503 if problem else 200)
