"""What is being prepared, for how long, how many of how many."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

HEARTBEAT_S = 20.0


class Progress:
    """Counts steps and says what goes on: live on a terminal, plain lines elsewhere.

    Steps may run in several threads. Everything goes to stderr, so that stdout stays for results.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._finished = 0
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._console = Console(stderr=True)
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """Print one line now."""
        with self._lock:
            if self._live:
                self._console.print(line, highlight=False)
            else:
                print(line, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` as running inside the block, and how long it took after it."""
        started = time.monotonic()
        with self._lock:
            self._running[title] = started
        try:
            yield
        except BaseException:
            self._end(title)
            self.say(f"{title}: failed after {time.monotonic() - started:.1f} s")
            raise
        self._end(title)
        with self._lock:
            self._finished += 1
            count = self._finished
        self.say(f"[{count}/{self.total}] {title}: {time.monotonic() - started:.1f} s")

    def _end(self, title: str) -> None:
        with self._lock:
            self._running.pop(title, None)

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Keep the display alive while the block runs."""
        stop = threading.Event()
        if self._console.is_terminal:
            with Live(get_renderable=self._status, console=self._console, refresh_per_second=4, transient=True) as live:
                self._live = live
                try:
                    yield self
                finally:
                    self._live = None
            return
        beat = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        beat.start()
        try:
            yield self
        finally:
            stop.set()
            beat.join()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            text = self._status().plain
            if text:
                self.say(text)

    def _status(self) -> Text:
        now = time.monotonic()
        with self._lock:
            parts = [f"{title} ({now - since:.0f} s)" for title, since in self._running.items()]
            return Text(f"{self._finished}/{self.total} done, now: {', '.join(parts)}" if parts else "")
