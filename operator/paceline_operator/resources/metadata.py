"""Labels and owner of everything that belongs to a job."""

from __future__ import annotations

from typing import Any

from paceline.api import TrainJob, names
from paceline_operator import contract


def labels(job: TrainJob) -> dict[str, str]:
    """Return the labels of all objects of a job."""
    return {contract.LABEL_JOB: job.name, contract.LABEL_MANAGED_BY: contract.MANAGED_BY}


def owner(job: TrainJob) -> dict[str, Any]:
    """Return the owner reference: the garbage collector deletes what it owns with the job.

    No blockOwnerDeletion: setting it needs rights on finalizers of TrainJobs.
    """
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job.name,
        "uid": job.uid,
        "controller": True,
    }
