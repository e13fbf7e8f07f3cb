"""Which runs of experiment trackers are on record? Those of all attempts, with the newest words about each."""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api import TrackingRun
from paceline.api.tracking import MAX_TRACKING


def merged(known: Sequence[TrackingRun], told: Sequence[TrackingRun]) -> list[TrackingRun]:
    """Return the runs to put on record, oldest first.

    A run keeps its place when more is told of it, so that nothing is written for its own sake.

    Args:
        known: On record.
        told: By the lead of the current attempt.
    """
    runs = {(run.kind, run.run_id): run for run in known}
    runs.update({(run.kind, run.run_id): run for run in told})
    return list(runs.values())[-MAX_TRACKING:]
