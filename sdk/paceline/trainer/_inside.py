"""`fit()` in a worker of a TrainJob: a script that trains on a laptop is the command of a job as it is.

Every worker runs the script, so every worker comes to `fit()`. There it calls the function as the rank that the job
gave it. What follows `fit()` belongs to the one who asked for the run, which is rank 0; the others end there.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from paceline import _contract as c
from paceline import _trackers
from paceline._metrics import numbers_again
from paceline.storage import StorageError
from paceline.train import Checkpoint, _report, _run_directory, get_checkpoint, get_context
from paceline.train._callbacks import tracking
from paceline.train._location import Location
from paceline.train._result import Result

if TYPE_CHECKING:
    from paceline.trainer._plan import Plan


def fit(plan: Plan) -> Result:
    """Run the function as this worker's rank.

    Returns:
        On rank 0 what this process knows when its last checkpoint is committed: the metrics of its last report, and
        that checkpoint (the one that the attempt resumed from, where it reported none). An attempt that found nothing
        left to do and reported nothing has the metrics of the checkpoint that it resumed from.
    Raises:
        SystemExit: On every other rank, with code 0, when the function has returned.
        RuntimeError: The last checkpoint could not be committed.
        Exception: What the function raised.
    """
    from paceline.trainer import worker

    context = get_context()
    if context.get_world_rank() == 0:
        workers, asked = context.get_world_size(), plan.scaling.num_workers
        differs = f", not the {asked} of ScalingConfig" if asked != workers else ""
        job = context.get_trial_name()
        said = (
            f"[paceline] {plan.task.name} in {workers} workers{differs}:"
            f" the TrainJob {job} decides workers, storage and restarts"
        )
        print(said, file=sys.stderr, flush=True)  # noqa: T201
    _track(plan)
    worker.run(plan.task)
    if context.get_world_rank() != 0:
        raise SystemExit(0)
    return _result(plan)


def _track(plan: Plan) -> None:
    """The callbacks are followed here too, unless the manifest names trackers itself."""
    if (told := tracking(tuple(plan.run.callbacks))) and not os.environ.get(c.TRACKING):
        os.environ[c.TRACKING] = json.dumps(told)
        for name, value in _trackers.variables(told).items():
            os.environ.setdefault(name, value)
        _report.forget()


def _result(plan: Plan) -> Result:
    _report.wait_for_commit()
    run = Location(get_context().get_trial_dir())
    newest, told = get_checkpoint(), _report.last_metrics()
    if told is None and newest is not None:
        told = _metrics_of(run, newest)
    metrics = None if told is None else numbers_again(told)
    return Result(
        run,
        metrics=metrics,
        best_checkpoints=[] if newest is None else [(newest, dict(metrics or {}))],
        error=None,
        config=plan.task.params(),
    )


def _metrics_of(run: Location, checkpoint: Checkpoint) -> dict[str, Any] | None:
    """What was reported with a checkpoint; None where the store does not tell, for a run that is done is no failure."""
    try:
        committed = _run_directory.checkpoints(run)
    except StorageError:
        return None
    return next((dict(commit.metrics) for where, commit in committed if where.uri == checkpoint.uri), None)
