"""What is a run called on a cluster: its TrainJob, the ConfigMap of its task, its directory?"""

from __future__ import annotations

import hashlib
import re

from paceline.api import names

TASK_SUFFIX = "-task"
_DIRECTORY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]*")
_DIGEST = 6


def job_name(run: str) -> str:
    """The TrainJob of a run: `Digits_v2` becomes `digits-v2`. A name that fits stays as it is.

    Names that are too long are cut, and end with six characters of a digest, so that two of them differ.

    Args:
        run: Name of the run, as `directory_name` accepts it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"run-{name}"
    if len(name) > names.MAX_JOB_NAME:
        digest = hashlib.sha256(run.encode()).hexdigest()[:_DIGEST]
        name = f"{name[: names.MAX_JOB_NAME - _DIGEST - 1].rstrip('-')}-{digest}"
    return name


def directory_name(run: str) -> str:
    """The run's directory below the storage path: its name, unchanged.

    Raises:
        ValueError: The name cannot be a directory on a cluster.
    """
    if not _DIRECTORY.fullmatch(run):
        raise ValueError(
            f"RunConfig.name is {run!r}: on a cluster the name of a run is made of letters, digits, '-', '_' and '.',"
            " beginning with a letter or a digit"
        )
    return run


def task_name(job: str) -> str:
    """The ConfigMap that holds what a job's workers run."""
    return f"{job}{TASK_SUFFIX}"
