"""The agent's own lines in the container's log: few, marked, on stderr."""

from __future__ import annotations

import os

from paceline.storage import StorageError


def say(text: str) -> None:
    """One line, `[paceline] ...`; a log that cannot be written is no reason to stop."""
    try:
        os.write(2, f"[paceline] {text}\n".encode())
    except OSError:
        pass


def retrying(what: str) -> _Retrying:
    """For `retry.call(on_retry=...)`: tells the first try that failed, and then every tenth."""
    return _Retrying(what)


class _Retrying:
    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0

    def __call__(self, error: StorageError, wait_s: float) -> None:
        self._count += 1
        if self._count % 10 == 1:
            say(f"{self._what}: {error}; trying again")
