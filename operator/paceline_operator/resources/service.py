"""The headless Service that gives each pod its DNS name."""

from __future__ import annotations

from typing import Any

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.resources import metadata


def service(job: TrainJob) -> dict[str, Any]:
    """Return the Service of a job. Addresses of pods that are not ready are published: ranks meet before that."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": job.name,
            "namespace": job.namespace,
            "labels": metadata.labels(job),
            "ownerReferences": [metadata.owner(job)],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {contract.LABEL_JOB: job.name},
            "ports": [{"name": contract.AGENT_PORT_NAME, "port": contract.AGENT_PORT, "protocol": "TCP"}],
        },
    }
