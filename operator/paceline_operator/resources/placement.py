"""On which nodes the pods go: placement, kind of GPU, and how long they stay bound to a node that is lost."""

from __future__ import annotations

from typing import Any

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.policies.config import JobDefaults

HOSTNAME = "kubernetes.io/hostname"
# Kubernetes waits five minutes. A group that has lost one worker stands still, so it moves after seconds.
LOST_NODE_GRACE_S = 10
PREFERENCE_WEIGHT = 100


def placement(job: TrainJob, attempt: int, config: JobDefaults) -> dict[str, Any]:
    """Return the fields of the pod spec that choose nodes."""
    spec: dict[str, Any] = {
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{state}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": LOST_NODE_GRACE_S,
            }
            for state in ("not-ready", "unreachable")
        ]
    }
    if job.spec.pods > 1:
        spec["affinity"] = _affinity(job, attempt)
    if job.spec.workers.accelerator is not None:
        spec["nodeSelector"] = dict(config.accelerators[job.spec.workers.accelerator])
    if job.spec.scheduling.priority_class_name:
        spec["priorityClassName"] = job.spec.scheduling.priority_class_name
    if job.spec.scheduling.scheduler_name:
        spec["schedulerName"] = job.spec.scheduling.scheduler_name
    return spec


def _affinity(job: TrainJob, attempt: int) -> dict[str, Any]:
    # The attempt is in the selector: pods of the last one, still ending, must not decide where the next one goes.
    near = {
        "topologyKey": HOSTNAME,
        "labelSelector": {"matchLabels": {contract.LABEL_JOB: job.name, contract.LABEL_ATTEMPT: str(attempt)}},
    }
    kind = "podAntiAffinity" if job.spec.workers.placement.endswith("Spread") else "podAffinity"
    if job.spec.workers.placement.startswith("Strict"):
        return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [near]}}
    preferred = [{"weight": PREFERENCE_WEIGHT, "podAffinityTerm": near}]
    return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
