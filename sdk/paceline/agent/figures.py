"""What is on its way into the store, in numbers, for `/status` and `/metrics`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

# Keys of a pod's figures, as a beat carries them.
PENDING_BYTES = "pendingBytes"
WAIT_SECONDS = "waitSeconds"
BYTES_PER_SECOND = "bytesPerSecond"
STORED_BYTES = "storedBytes"
RETRIES = "retries"
ARTIFACTS_STORED = "artifactsStored"
ARTIFACTS_FAILED = "artifactsFailed"

_WINDOW_S = 10.0


class Rate:
    """Bytes per second of late, of a counter that is read now and then."""

    def __init__(self, *, window_s: float = _WINDOW_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, total_bytes: int) -> float:
        """Take the counter down; the average over the window comes back."""
        now = self._clock()
        self._seen.append((now, total_bytes))
        # One reading from before the window stays: else a counter that is read rarely would show nothing.
        while len(self._seen) > 2 and now - self._seen[1][0] >= self._window_s:
            self._seen.popleft()
        first_at, first = self._seen[0]
        return max(0.0, (total_bytes - first) / (now - first_at)) if now > first_at else 0.0


def uploads(rounds: Iterable[int], pods: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """`uploads` of `/status`.

    Args:
        rounds: Reports whose checkpoints are not settled yet.
        pods: Figures of each pod.
    """
    known = list(pods)
    told: dict[str, float] = {"pendingCheckpoints": len(set(rounds))}
    for key, digits in ((PENDING_BYTES, 0), (WAIT_SECONDS, 3), (BYTES_PER_SECOND, 0)):
        total = sum(figures.get(key, 0) for figures in known)
        told[key] = round(total, digits) if digits else int(total)
    return told
