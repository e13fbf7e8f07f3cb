"""Jobs as users write them, and changes as the story tells them."""

from __future__ import annotations

from tests.simulation.api import Body, Event
from tests.simulation.history import NAMESPACE, JobPlan


def manifest(plan: JobPlan) -> Body:
    """Return a job as its user writes it."""
    policy: Body = {
        "maxRestarts": plan.restarts,
        "maxPreemptions": plan.preemptions,
        "backoffSeconds": {"initial": plan.initial, "max": plan.max},
        "startTimeoutSeconds": plan.start,
    }
    if plan.rule:
        action, _, what = plan.rule.partition(":")
        matched = {"exitCodes": [int(what)]} if what.isdigit() else {"reasons": [what]}
        policy["rules"] = [{"action": action, **matched}]
    spec: Body = {
        "image": "train:1",
        "command": ["python", "train.py"],
        "workers": {"count": plan.pods * plan.per_pod, "perPod": plan.per_pod, "resources": {"gpu": 1}},
        "failurePolicy": policy,
        "scheduling": {"gang": plan.gang, "timeoutSeconds": plan.timeout},
        "cleanPodPolicy": plan.clean,
        "suspend": plan.suspended,
    }
    if plan.deadline:
        spec["activeDeadlineSeconds"] = plan.deadline
    if plan.ttl >= 0:
        spec["ttlSecondsAfterFinished"] = plan.ttl
    return {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainJob",
            "metadata": {"name": plan.name, "namespace": NAMESPACE}, "spec": spec}  # fmt: skip


def line(kind: str, event: Event) -> str:
    """Return a change as a line of the story."""
    body, name = event.body, event.body["metadata"]["name"]
    if kind == "trainjobs":
        status, spec = body.get("status") or {}, body["spec"]
        told = (f"{status.get('phase', '')} attempt={status.get('attempt', 0)} restarts={status.get('restarts', 0)}"
                f"+{status.get('preemptions', 0)} {status.get('workers', {}).get('ready', '')}"
                f"{' suspend' if spec.get('suspend') else ''}")  # fmt: skip
        history = status.get("history") or []
        told += f" last={history[-1]['cause']} rank {history[-1].get('rank')}" if history else ""
    elif kind == "pods":
        status = body["status"]
        told = f"{status['phase']} {body['spec'].get('nodeName', '')} {status.get('reason', '')}"
        told += " deleting" if "deletionTimestamp" in body["metadata"] else ""
        told += "".join(f" {c['reason']}" for c in status.get("conditions", ()) if c.get("reason"))
    else:
        told = ""
    return f"{kind} {name} {event.type.lower()} {told}"
