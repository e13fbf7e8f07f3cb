"""The status has changed: is it worth a write now, or can it wait for more?

Writes cost the API server. What a user or a program waits for is written at once; numbers that move all the time wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from paceline.api import TrainJobStatus, reasons

# Numbers, and the way from Pending to Running: with the image present a job runs before this is over.
QUIET = timedelta(seconds=5)
# While pods start one after the other there is more to tell in a moment.
MOVING = timedelta(seconds=10)
PROGRESS = timedelta(seconds=10)
CHECKPOINT = timedelta(seconds=1)
ON_THE_WAY = frozenset({"Pending", "Scheduling", "Starting"})
# Restarting -> Scheduling says nothing new either.
NOT_YET_RUNNING = ON_THE_WAY | {"Restarting"}

# What every start goes through.
EXPECTED = frozenset(
    {reasons.WAITING_FOR_NODES, reasons.WAITING_FOR_WORKERS, reasons.ALL_WORKERS_SCHEDULED, reasons.ALL_WORKERS_RUNNING}
)


def wait(
    old: TrainJobStatus,
    new: TrainJobStatus,
    *,
    last_write: datetime | None,
    changed_since: datetime | None,
    moved_at: datetime | None,
    now: datetime,
) -> timedelta | None:
    """Return how long the write of `new` over `old` may wait: zero for now, None where no write is due.

    What waits for the store (`uploads`) rides along with other changes and is never worth a write of its own.

    Args:
        old: The status on record.
        new: The status as it should be.
        last_write: When this operator last wrote it, or first saw the job.
        changed_since: Since when they differ; None: since now.
        moved_at: Since when `new` has its phase and counts; None: since now.
        now: UTC.
    """
    if new == old or new.model_copy(update={"uploads": old.uploads}) == old:
        return None
    if (pause := _pause(old, new)) is not None:
        due = (last_write or now - PROGRESS) + pause
    else:
        # Pods run and end within moments of each other: one write for all of them.
        due = min((moved_at or now) + QUIET, (changed_since or now) + MOVING)
    return max(timedelta(0), due - now)


def _pause(old: TrainJobStatus, new: TrainJobStatus) -> timedelta | None:
    """Return the time since the last write; None where nothing is new but counts and the way to Running."""
    if old.attempt != new.attempt or old.result != new.result or _news(old, new):
        return timedelta(0)
    if old.checkpoint != new.checkpoint or old.best_checkpoint != new.best_checkpoint or old.tracking != new.tracking:
        return CHECKPOINT
    return PROGRESS if old.progress != new.progress else None


def _news(old: TrainJobStatus, new: TrainJobStatus) -> bool:
    """Whether there is a phase or a reason that a user waits for; that a problem is over can wait for what follows."""
    if new.phase != old.phase and not (new.phase in ON_THE_WAY and old.phase in NOT_YET_RUNNING):
        return True
    return bool(_reasons(new) - _reasons(old))


def _reasons(status: TrainJobStatus) -> set[tuple[str, str, str]]:
    return {
        (condition.type, condition.status, condition.reason)
        for condition in status.conditions
        if condition.reason not in EXPECTED and condition.type != reasons.CHECKPOINT_AVAILABLE
    }
