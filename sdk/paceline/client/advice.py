"""What a user can do about each reason of a condition or failure; docs/troubleshooting.md says more."""

from __future__ import annotations

from paceline.api import TrainJob, reasons

ADVICE = {
    reasons.INVALID_SPEC: "Correct the manifest and submit it under another name, or delete this job first.",
    reasons.MAX_RESTARTS_REACHED: "Read the error and `{program} logs {name} --rank {rank}`. A new job with the same "
    "storage path and name goes on from the last checkpoint.",
    reasons.DEADLINE_EXCEEDED: "Raise spec.activeDeadlineSeconds in a new job; with the same storage path and name it "
    "goes on from the last checkpoint.",
    reasons.STORAGE_ERROR: "Check spec.storage.path, the keys in spec.storage.secretRef and the store's own message.",
    reasons.INVALID_CONFIG: "Correct what the message names: it was found before training began.",
    reasons.WORKER_FAILED: "Read the traceback, or `{program} logs {name} --rank {rank}`.",
    reasons.OOM_KILLED: "Raise spec.workers.resources.memory, or use a smaller batch.",
    reasons.POD_EVICTED: "The node was short of memory or disk: `kubectl describe pod` says which.",
    reasons.UNSCHEDULABLE: "No node has room: ask for less in spec.workers.resources, or add nodes. See "
    "`kubectl describe nodes` for what is free.",
    reasons.IMAGE_PULL_FAILED: "Check spec.image and that the nodes may pull it (imagePullSecrets in "
    "spec.podTemplate.spec). The job goes on by itself once the image can be pulled.",
    reasons.MISSING_SECRET: "Create the Secret in namespace {namespace}: the job goes on by itself.",
    reasons.MISSING_CREDENTIALS: "Give the tracker its key: `{program} secrets create wandb` (mlflow, databricks, "
    "comet) prints how. Then submit the job under another name, or delete this one first.",
    reasons.TRACKER_UNREACHABLE: "Training goes on. Check the tracker's address as seen from the pods.",
    reasons.MISSING_CONFIG_MAP: "Create the ConfigMap in namespace {namespace}: the job goes on by itself.",
    reasons.MISSING_VOLUME: "Create the PersistentVolumeClaim in namespace {namespace}, or see why it is not bound: "
    "`kubectl describe pvc`.",
    reasons.POD_REFUSED: "The cluster's policy refuses the pods: change what the message names in spec.podTemplate, or "
    "ask whoever runs the cluster.",
    reasons.QUOTA_EXCEEDED: "Wait for other jobs of the namespace to end, or ask for a larger quota.",
    reasons.NAME_TAKEN: "Rename the job, or delete what has its name.",
    reasons.WORKER_BEHIND: "Look at that pod's node: a hot or shared GPU, a slow disk or network, a data loader "
    "short of CPU.",
    reasons.SUSPENDED_BY_USER: "`{program} resume {name}` goes on from the latest checkpoint.",
}


def advice(reason: str, job: TrainJob, program: str) -> str:
    """Return what to do about a reason; empty where nothing needs to be done."""
    known = ADVICE.get(reason, "")
    error = job.status.result.error if job.status.result else None
    rank = error.rank if error and error.rank is not None else 0
    return known.format(program=program, name=job.name, namespace=job.namespace, rank=rank)


def trouble(job: TrainJob) -> tuple[str, str, str] | None:
    """Type, reason and message of the condition that keeps the job from running, when there is advice about it."""
    if job.status.finished or job.status.phase == "Running":
        return None
    for condition in job.status.conditions:
        if condition.message and condition.status != "True" and advice(condition.reason, job, ""):
            return condition.type, condition.reason, condition.message
    return None
