"""How far a transfer is: counters that its threads raise and anybody reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Progress:
    """Figures of one or several transfers; give the same one to each call that belongs together. Thread-safe.

    Attributes:
        bytes_total, files_total: What the transfers begun so far have to move.
        bytes_done, files_done: What is through, checked. A part that is sent again counts once.
        retries: Requests that were tried again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = clock()
        self.bytes_total = 0
        self.bytes_done = 0
        self.files_total = 0
        self.files_done = 0
        self.retries = 0

    @property
    def bytes_per_s(self) -> float:
        """Average since this object was made."""
        return self.bytes_done / max(self._clock() - self._begun, 1e-6)

    def expect(self, files: int, size_bytes: int) -> None:
        """More has to be moved."""
        with self._lock:
            self.files_total += files
            self.bytes_total += size_bytes

    def moved(self, size_bytes: int) -> None:
        """Bytes have arrived; negative when they must be moved again."""
        with self._lock:
            self.bytes_done += size_bytes

    def finished(self, files: int = 1) -> None:
        """A file is whole where it belongs."""
        with self._lock:
            self.files_done += files

    def retried(self) -> None:
        """A request is tried again."""
        with self._lock:
            self.retries += 1
