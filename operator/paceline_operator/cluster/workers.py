"""Takes keys from the queue, looks at their jobs side by side, and comes back later where needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.workqueue import WorkQueue

log = logging.getLogger(__name__)

# Looks at once. Each waits for the API server, or for its turn there, nearly all of its time.
PARALLEL = 512


async def run(
    queue: WorkQueue,
    reconciler: Reconciler,
    *,
    parallel: int = PARALLEL,
    observe: Callable[[str, float], None] = lambda outcome, seconds: None,
) -> None:
    """Work until the queue is closed; then finish what is in hand and return."""
    slots = asyncio.Semaphore(parallel)
    in_hand: set[asyncio.Task[None]] = set()

    def done(task: asyncio.Task[None]) -> None:
        in_hand.discard(task)
        slots.release()

    try:
        while True:
            # One waits for keys, however many can be looked at: to wake hundreds for each key costs more than the look.
            await slots.acquire()
            key = await queue.get()
            if key is None:
                break
            task = asyncio.create_task(_look(key, queue, reconciler, observe))
            in_hand.add(task)
            task.add_done_callback(done)
        await asyncio.gather(*in_hand)
    finally:
        for task in in_hand:
            task.cancel()


async def _look(key: str, queue: WorkQueue, reconciler: Reconciler, observe: Callable[[str, float], None]) -> None:
    began = time.perf_counter()
    outcome = "ok"
    try:
        again = await reconciler.reconcile(key)
        queue.succeeded(key)
        if again is not None:
            queue.add_after(key, again.total_seconds())
    except (ApiError, UnreachableError) as error:
        outcome = "retry"
        retry_after = error.retry_after_s if isinstance(error, ApiError) else None
        wait = queue.retry(key, retry_after or 0.0)
        log.warning("looking again in %.1f s: %s", wait, error, extra={"job": key})
    except Exception:
        # A bug in one job's path must not stop the others.
        outcome = "error"
        wait = queue.retry(key, 1.0)
        log.exception("unexpected; looking again in %.1f s", wait, extra={"job": key})
    finally:
        observe(outcome, time.perf_counter() - began)
        queue.done(key)
