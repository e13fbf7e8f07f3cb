"""The lead's calls to the store: in a thread, tried again while that can help, and final when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from paceline.agent import log
from paceline.agent.errors import StorageFailedError
from paceline.storage import StorageError, retry

T = TypeVar("T")

PATIENCE_S = 600.0


async def store(what: str, action: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Run `action`, which may be repeated freely.

    Raises:
        StorageFailedError: The store refused for good, or for longer than `patience_s`.
    """
    try:
        return await asyncio.to_thread(lambda: retry.call(action, patience_s=patience_s, on_retry=log.retrying(what)))
    except StorageError as e:
        raise StorageFailedError(str(e)) from e
