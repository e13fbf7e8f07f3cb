"""The status has changed: is it worth a write now, or can it wait for more?

Writes cost the API server. What a user or a program waits for is written at once; numbers that move all the time wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from paceline.api import TrainJobStatus

# Numbers, and the way from Pending to Running: with the image present a job runs before this is over.
QUIET = timedelta(seconds=5)
PROGRESS = timedelta(seconds=10)
CHECKPOINT = timedelta(seconds=1)
ON_THE_WAY = frozenset({"Pending", "Scheduling", "Starting"})
# Restarting -> Scheduling says nothing new either.
NOT_YET_RUNNING = ON_THE_WAY | {"Restarting"}


def wait(old: TrainJobStatus, new: TrainJobStatus, last_write: datetime | None, now: datetime) -> timedelta | None:
    """Return how long the write of `new` over `old` may wait: zero for now, None where they are equal."""
    if new == old:
        return None
    pause = _pause(old, new)
    if last_write is None:
        return timedelta(0)
    return max(timedelta(0), last_write + pause - now)


def _pause(old: TrainJobStatus, new: TrainJobStatus) -> timedelta:
    if old.attempt != new.attempt or _urgent_phase(old, new) or _story(old) != _story(new):
        return timedelta(0)
    if old.phase != new.phase or old.workers != new.workers or old.conditions != new.conditions:
        return QUIET
    if old.checkpoint != new.checkpoint or old.best_checkpoint != new.best_checkpoint:
        return CHECKPOINT
    if old.progress != new.progress:
        return PROGRESS
    return QUIET


def _urgent_phase(old: TrainJobStatus, new: TrainJobStatus) -> bool:
    if old.phase == new.phase:
        return False
    return not (new.phase in ON_THE_WAY and old.phase in NOT_YET_RUNNING)


def _story(status: TrainJobStatus) -> object:
    """What a user waits for: the reason why it does not go on, and the end."""
    from_start = {"PodsCreated", "WaitingForNodes", "WaitingForWorkers", "AllWorkersScheduled", "NoCheckpointYet"}
    shown = tuple(
        (c.type, c.status, c.reason)
        for c in status.conditions
        if c.reason not in from_start and c.type != "CheckpointAvailable"
    )
    return shown, status.result, status.next_attempt_time
