"""An agent that was started by a trainer on this machine ends when that process is gone, however it ended.

It holds the read end of a pipe, whose write end that process alone has: the kernel closes it, also after SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import MutableMapping

from paceline import _contract as c


class Lifeline:
    """Watched by a thread."""

    def __init__(self, fd: int, directory: str) -> None:
        """Begin to watch.

        Args:
            fd: The read end.
            directory: The agent's own; nobody else removes it when the starter is gone. Empty: there is none.
        """
        self._fd = fd
        self._directory = directory
        self._starter_is_gone = False
        threading.Thread(target=self._watch, name="paceline-lifeline", daemon=True).start()

    def clean_up(self) -> None:
        """At the agent's end: remove what the starter would have removed."""
        if self._starter_is_gone and self._directory:
            import shutil

            shutil.rmtree(self._directory, ignore_errors=True)

    def _watch(self) -> None:
        try:
            while os.read(self._fd, 1):
                pass
        except OSError:
            pass
        self._starter_is_gone = True
        # As a pod is told to end: what was reported is stored, within the grace period.
        os.kill(os.getpid(), signal.SIGTERM)


def watch(environ: MutableMapping[str, str]) -> Lifeline | None:
    """Watch the pipe that the environment names; the name goes, since no other process has the pipe."""
    number = environ.pop(c.LIFELINE, "")
    if not number.isdigit():
        return None
    fd = int(number)
    os.set_inheritable(fd, False)
    return Lifeline(fd, environ.get(c.AGENT_DIR, ""))
