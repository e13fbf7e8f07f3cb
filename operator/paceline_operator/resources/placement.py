"""On which nodes the pods go: placement, kind of GPU, and how long they stay bound to a node that is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.api import TrainJob, reasons
from paceline_operator import contract
from paceline_operator.policies.config import JobDefaults

HOSTNAME = "kubernetes.io/hostname"
# Kubernetes waits five minutes. A group that has lost one worker stands still, so it moves after seconds.
LOST_NODE_GRACE_S = 10
PREFERENCE_WEIGHT = 100
# What ended an attempt with its node: Kubernetes may need a minute more to see it, and would place pods there.
NODE_SUSPECT = frozenset({reasons.POD_UNREACHABLE, reasons.NODE_LOST})
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


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
    return {kind: {PREFERRED: [{"weight": PREFERENCE_WEIGHT, "podAffinityTerm": near}]}}


def suspect_node(job: TrainJob, attempt: int) -> str | None:
    """Return the node with which the attempt right before this one was lost; None where there is none.

    An older failure says nothing about a node any more: an attempt has run, or has failed, since.
    """
    last = job.status.history[-1] if job.status.history else None
    if last is None or last.attempt != attempt - 1 or last.cause not in NODE_SUSPECT:
        return None
    return last.node


def away_from(spec: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return the finished pod spec (`podTemplate` included) with a preference for any other node than this one.

    By the node's name, as the pod had it in `spec.nodeName`: the label kubernetes.io/hostname may say something else.
    It is one more preference beside those of the user, whose own list `merge` would let replace it, and no requirement:
    on a cluster of one node the pods still start.
    """
    others = {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]}]}
    affinity = dict(spec.get("affinity") or {})
    of_nodes = dict(affinity.get("nodeAffinity") or {})
    of_nodes[PREFERRED] = [*(of_nodes.get(PREFERRED) or ()), {"weight": PREFERENCE_WEIGHT, "preference": others}]
    return {**spec, "affinity": {**affinity, "nodeAffinity": of_nodes}}
