"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio


async def until_set(event: asyncio.Event, limit_s: float) -> None:
    """Return when `event` is set, or after `limit_s` seconds. The event stays as it is."""
    try:
        await asyncio.wait_for(event.wait(), limit_s)
    except asyncio.TimeoutError:
        pass
