"""`paceline checkpoints JOB|URI`: where is that, as seen from this machine?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paceline.api import CheckpointStatus, TrainJob
from paceline.cli import text
from paceline.client.errors import NotFoundError, UsageError
from paceline.client.jobs import run_directory
from paceline.policy.retention import Retention
from paceline.storage import StorageError
from paceline.train._location import Location


@dataclass(frozen=True, slots=True)
class Place:
    """A run's directory, or one checkpoint.

    Attributes:
        score: By what the best checkpoint is known; None: by nothing.
        job: Its TrainJob, where it was named by that.
        is_guess: Only the path of a checkpoint tells of it: the job's own function may have stored that anywhere.
    """

    location: Location
    score: Retention | None = None
    job: TrainJob | None = None
    is_guess: bool = False


def is_uri(given: str) -> bool:
    """Whether it names a directory, not a TrainJob: those have no slash."""
    return "/" in given or given.startswith((".", "~"))


def of_uri(uri: str) -> Place:
    """A directory that the user named.

    Raises:
        UsageError: It makes no sense.
        NotFoundError: It is a local path, and there is nothing.
    """
    location = _location(uri)
    if location.is_local and not Path(location.path).is_dir():
        raise NotFoundError(f"there is no directory {location.path} on this machine")
    return Place(location)


def of_job(job: TrainJob) -> Place:
    """Where a job's status, or its spec, says that its files are.

    Raises:
        NotFoundError: It has no storage, one that nothing here tells, or one that this machine cannot see.
    """
    known = run_directory(job)
    location = _location(known or _above(job))
    if location.is_local and not Path(location.path).is_dir():
        raise NotFoundError(unseen(job, location.path))
    config = job.spec.checkpoints
    score = None
    if config is not None and config.score_attribute:
        score = Retention(score_attribute=config.score_attribute, score_order=config.score_order or "max")
    return Place(location, score, job, is_guess=not known)


def _location(uri: str) -> Location:
    try:
        return Location(uri)
    except (StorageError, ValueError) as error:
        raise UsageError(str(error)) from None


def _above(job: TrainJob) -> str:
    """The directory of a checkpoint, where it can be the run's: tells where the operator's default storage is.

    Raises:
        NotFoundError: There is none.
    """
    if job.status.checkpoint is None:
        raise NotFoundError(
            f"TrainJob {job.name!r} names no spec.storage.path and has no checkpoint yet: the operator's default"
            " storage, where it has one, shows in the job's status with the first checkpoint"
        )
    for checkpoint in (job.status.checkpoint, job.status.best_checkpoint):
        place, mark, query = checkpoint.path.partition("?") if checkpoint else ("", "", "")
        above = place.rstrip("/").rpartition("/")[0]
        if above.rpartition("/")[2] == job.experiment_name:
            return above + mark + query
    raise NotFoundError(untold(job, job.status.checkpoint))


def untold(job: TrainJob, latest: CheckpointStatus) -> str:
    """What to say where the status knows only of a checkpoint that lies elsewhere than the run."""
    return (
        f"TrainJob {job.name!r} names no spec.storage.path, and its status does not tell where the operator's default"
        f" storage is: its latest checkpoint, {latest.path}, is stored elsewhere (by its checkpoint_upload_fn). Give"
        f" the run's directory instead of the job's name: paceline checkpoints <path>/{job.experiment_name}, where"
        " <path> is defaultStorage.path of the operator's configuration, and PACELINE_STORAGE_PATH in the job's pods"
    )


def unseen(job: TrainJob, path: str) -> str:
    """What to say of a path that only pods see, with what the status knows of it."""
    volume = job.spec.storage.volume
    where = (
        f"on the PersistentVolumeClaim {volume.claim_name!r}, which the job's pods mount at {volume.mount_path}"
        if volume
        else "on a disk of its pods"
    )
    told = [f"the files of TrainJob {job.name!r} are in {path} {where}; this machine does not see it."]
    if volume:
        told.append(
            "Mount the volume here and give the directory instead of the job's name, or run the command in a pod that"
            f" mounts it: paceline checkpoints {path}"
        )
    seen = [
        f"{what} {text.checkpoint(checkpoint)}"
        for what, checkpoint in (("latest", job.status.checkpoint), ("best", job.status.best_checkpoint))
        if checkpoint
    ]
    told.append(f"The job's status knows: {', '.join(seen)}" if seen else "The job's status knows of no checkpoint yet")
    return "\n".join(told)
