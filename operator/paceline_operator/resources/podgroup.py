"""The PodGroup of an attempt: Kubernetes' scheduler places all of its pods, or none."""

from __future__ import annotations

from typing import Any

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.resources import metadata
from paceline_operator.resources.placement import HOSTNAME


def pod_group(job: TrainJob, attempt: int) -> dict[str, Any]:
    """Return the manifest. Fields behind feature gates that are off are dropped by the API server."""
    spec: dict[str, Any] = {
        "schedulingPolicy": {"gang": {"minCount": job.spec.pods}},
        # A group that loses one pod stands still: whoever preempts it may as well have all of its nodes.
        "disruptionMode": "PodGroup",
    }
    priority = job.spec.pod_template.spec.get("priorityClassName", job.spec.scheduling.priority_class_name)
    if priority:
        spec["priorityClassName"] = priority
    if job.spec.workers.placement == "StrictPack":
        # The affinity of the pods alone binds all to the node that suits the first, whether or not it has room for all.
        spec["schedulingConstraints"] = {"topology": [{"key": HOSTNAME}]}
    return {
        "apiVersion": contract.POD_GROUP_API,
        "kind": "PodGroup",
        "metadata": {
            "name": contract.group_name(job.name, attempt),
            "namespace": job.namespace,
            "labels": {**metadata.labels(job), contract.LABEL_ATTEMPT: str(attempt)},
            "ownerReferences": [metadata.owner(job)],
        },
        "spec": spec,
    }
