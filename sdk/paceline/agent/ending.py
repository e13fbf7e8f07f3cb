"""How the processes of a pod are brought to their end: asked first, killed in time to store what they reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from paceline.agent.process import Process

_SURVIVORS_S = 5.0  # after a failure, from SIGTERM to SIGKILL of the other processes
_TRAINING_SHARE = 0.6  # of the grace period; the rest is for uploads
_ASKING_SHARE = 0.5  # of the grace period, until processes that ask should_stop() get SIGTERM all the same


class Ending:
    """Of one pod. Times are seconds of the monotonic clock."""

    def __init__(
        self, processes: Sequence[Process], grace_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing ends yet.

        Args:
            processes: Those of the pod; the list may still grow.
            grace_s: The pod's grace period.
        """
        self._processes = processes
        self._grace_s = grace_s
        self._clock = clock
        self._ask_at: float | None = None
        self._kill_at: float | None = None

    @property
    def begun(self) -> bool:
        """Whether they have been told to end."""
        return self._kill_at is not None

    def after_signal(self, at: float, *, asking: bool) -> None:
        """The pod, or the group, was told to stop at this time.

        Args:
            asking: They ask should_stop(), and end at a step that all ranks agree on. SIGTERM would end Python at once.
        """
        self._kill_at = at + self._grace_s * _TRAINING_SHARE
        if asking:
            self._ask_at = at + self._grace_s * _ASKING_SHARE
        else:
            self.ask()

    def after_failure(self, *, stacks: bool) -> None:
        """Some process has failed, and these would hang.

        Args:
            stacks: They hang already: have them write where.
        """
        self._kill_at = self._clock() + min(_SURVIVORS_S, self._grace_s * _TRAINING_SHARE)
        for running in self._processes:
            if stacks:
                running.ask_for_stacks()
            else:
                running.ask_to_end()

    def ask(self) -> None:
        """SIGTERM now."""
        self._ask_at = None
        for running in self._processes:
            running.ask_to_end()

    def enforce(self) -> None:
        """Do what is due; call it often."""
        now = self._clock()
        if self._ask_at is not None and now >= self._ask_at:
            self.ask()
        if self._kill_at is not None and now >= self._kill_at:
            for running in self._processes:
                running.kill()
