"""How a run on a cluster ended: its Result, or the error that `fit()` raises."""

from __future__ import annotations

from paceline.api import CheckpointStatus, TrainJob
from paceline.client.jobs import run_directory
from paceline.storage import StorageError
from paceline.train import Checkpoint, Result, TrainingFailedError
from paceline.train._location import Location

# A store that only pods reach: its name is not known here, or nobody answers.
PATIENCE_S = 10.0
NO_STORAGE = "(no storage)"


def failure(job: TrainJob) -> TrainingFailedError:
    """What `fit()` raises for a job that has failed."""
    condition = job.status.condition("Failed")
    reason = condition.reason if condition else "Failed"
    said = condition.message if condition else "the status says no more"
    error = job.status.result.error if job.status.result else None
    path = run_directory(job) or None
    if error is None:
        return TrainingFailedError(said, reason=reason, attempt=job.status.attempt, path=path)
    return TrainingFailedError(
        error.message or said,
        rank=error.rank,
        type=error.type,
        traceback=error.traceback,
        exit_code=error.exit_code,
        reason=reason,
        attempt=job.status.attempt,
        path=path,
    )


def result(job: TrainJob) -> tuple[Result, str]:
    """The Result of a finished job, and a sentence where it is not from the run's storage.

    Where the storage is not reached from here (a volume of the cluster, keys that are not here), what the status tells
    takes its place: the last metrics, the latest and the best checkpoint.
    """
    directory = run_directory(job)
    if not directory:
        return _from_status(job, NO_STORAGE), "the run has no storage: its Result has the last metrics alone"
    if "://" not in directory and job.spec.storage.volume is not None:
        claim = job.spec.storage.volume.claim_name
        return _from_status(job, directory), _instead(f"{directory} is on the volume {claim!r} of the cluster")
    try:
        return Result._at(Location(directory), patience_s=PATIENCE_S), ""
    except (StorageError, FileNotFoundError, ImportError, ValueError) as error:
        return _from_status(job, directory), _instead(f"{directory} cannot be read from here ({error})")


def _instead(why: str) -> str:
    return (
        f"{why}: the Result holds what the job's status tells, the last metrics and the latest and best checkpoint;"
        " where the storage is reached, Result.from_path reads all of it"
    )


def _from_status(job: TrainJob, directory: str) -> Result:
    status = job.status
    told = status.result.metrics if status.result and status.result.metrics else None
    if told is None and status.progress is not None:
        told = status.progress.metrics
    seen = {found.index: found for found in (status.best_checkpoint, status.checkpoint) if found is not None}
    return Result(
        Location(directory),
        metrics=dict(told) if told else None,
        best_checkpoints=[_checkpoint(found) for _, found in sorted(seen.items())],
        error=failure(job) if status.phase == "Failed" else None,
        config=None,
        tracking=[run.model_dump(by_alias=True, exclude_none=True) for run in status.tracking],
    )


def _checkpoint(seen: CheckpointStatus) -> tuple[Checkpoint, dict[str, object]]:
    return Checkpoint._at(Location(seen.path)), dict(seen.metrics)
