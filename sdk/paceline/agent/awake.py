"""Was it this agent that slept, when it has heard nothing? Pure.

A machine that was suspended, a process that got SIGSTOP, or an event loop that a full disk held: on waking, the clock
has gone on and nobody has been heard, since nobody was listened to. Nobody is judged by that time.
"""

from __future__ import annotations

_SHARE = 0.25  # of a limit of silence: a shorter nap leaves the others time enough
_SHORTEST_S = 1.0  # what two busy cores may keep a process waiting


class Awake:
    """Of one agent. Times are those of one monotonic clock, in seconds."""

    def __init__(self, limit_s: float, now: float) -> None:
        """Begin awake.

        Args:
            limit_s: The silence of others that is judged by this.
        """
        self._nap_s = max(_SHORTEST_S, limit_s * _SHARE)
        self._last = self._since = now

    def since(self, now: float) -> float:
        """Since when this agent has been awake. Ask it often, and before every judgement."""
        if now - self._last > self._nap_s:
            self._since = now
        self._last = now
        return self._since
