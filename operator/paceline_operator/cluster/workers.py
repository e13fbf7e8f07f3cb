"""The workers of the queue: take a key, look at the job, come back later where needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.workqueue import WorkQueue

log = logging.getLogger(__name__)

# Looks at once. Each waits for the API server most of its time.
WORKERS = 24


async def run(
    queue: WorkQueue,
    reconciler: Reconciler,
    *,
    workers: int = WORKERS,
    observe: Callable[[str, float], None] = lambda outcome, seconds: None,
) -> None:
    """Work until the queue is closed; then finish what is in hand and return."""
    await asyncio.gather(*(_work(queue, reconciler, observe) for _ in range(workers)))


async def _work(queue: WorkQueue, reconciler: Reconciler, observe: Callable[[str, float], None]) -> None:
    while (key := await queue.get()) is not None:
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
