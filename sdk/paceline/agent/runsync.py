"""When do the run's own files go to the store? Often while they are small, seldom enough when they are large.

A store takes whole files only, so a file that grows for days must not be sent again every few seconds. A lead whose
node vanishes loses the lines since the last time: `period_s` of them. A lead that ends, however, stores all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from paceline.agent import attempts, log
from paceline.agent.runfiles import RunFiles
from paceline.agent.storing import store
from paceline.agent.takeover import RunDirectory

LEAST_S = 2.0
_BYTES_PER_S = 1_000_000
_COST_SHARE = 20  # a sync may take a twentieth of the time
_SMALL_BYTES = 1_000_000  # such files go along with every checkpoint


class RunSync:
    """Keeps the files of `RunFiles` in the store."""

    def __init__(
        self, files: RunFiles, directory: RunDirectory | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._synced = clock()
        self._cost_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._files.changed and self._clock() - self._synced >= period_s(self._files.size_bytes, self._cost_s)

    async def after_commit(self) -> None:
        """A checkpoint has come to exist: show its line too, when that costs little."""
        if self._files.size_bytes <= _SMALL_BYTES or self.due:
            await self.now()

    async def now(self) -> None:
        """Bring the files into the store as they are now."""
        directory = self._directory
        # One at a time: else an older content could arrive after a newer one.
        async with self._turn:
            self._files.flush()
            if directory is None or not self._files.changed:
                return
            self._files.changed = False
            begun = self._clock()
            try:
                await store("run files", lambda: _sync(self._files, directory))
            except OSError as e:
                # A full disk has no room for the copy that is sent. Checkpoints that wait there will make some.
                self._files.changed = True
                log.say(f"warning: the run's files were not stored this time: {e}")
            self._synced = self._clock()
            self._cost_s = self._synced - begun


def _sync(files: RunFiles, directory: RunDirectory) -> None:
    # A lead that was frozen must not put its old lines over those of the attempt that replaced it.
    attempts.check(directory.storage, directory.path, directory.entry)
    files.sync(directory.storage, directory.path)


def period_s(size_bytes: int, cost_s: float) -> float:
    """Seconds between two syncs, for files of this size of which the last sync took `cost_s`."""
    return max(LEAST_S, size_bytes / _BYTES_PER_S, _COST_SHARE * cost_s)
