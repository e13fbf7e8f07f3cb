"""Sign of life of a pod whose agent is too busy to beat: a thread that does nothing else.

A beat says everything, and comes out of the event loop. That may be held for longer than the others wait: by a write
into a container log that nobody reads at the moment, or to a disk that takes a checkpoint. So a thread watches the
beats, and where none got through lately it asks the lead's own thread (`server.py`) whether it is there.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable

_LOOK_S = 0.5
_QUIET_S = 2.0  # without an answered beat: two in a row were missed
_ANSWER_S = 3.0

PATH = "/v1/pulse"


class Pulse:
    """Of a pod that is not the lead's."""

    def __init__(
        self, about: dict[str, str | int], *, lead: Callable[[], tuple[str, int]], last_beat: Callable[[], float]
    ) -> None:
        """Prepare.

        Args:
            about: runId, attempt and nodeRank of this pod.
            lead: Address of the lead, as it is known now.
            last_beat: When a beat was answered last, on the monotonic clock; 0: never.
        """
        self._body = json.dumps(about).encode()
        self._lead = lead
        self._last_beat = last_beat
        self._ended = threading.Event()
        self.answered = 0.0  # when the lead last answered a pulse, on the monotonic clock

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="paceline-pulse", daemon=True).start()

    def close(self) -> None:
        """End the thread; it is not waited for."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            last = self._last_beat()
            if last and time.monotonic() - max(last, self.answered) > _QUIET_S:
                self._send()

    def _send(self) -> None:
        try:
            connection = http.client.HTTPConnection(*self._lead(), timeout=_ANSWER_S)
            try:
                connection.request("POST", PATH, self._body, {"Content-Type": "application/json"})
                if connection.getresponse().status == http.client.OK:
                    self.answered = time.monotonic()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            pass  # the lead is busy or gone: the next one tells
