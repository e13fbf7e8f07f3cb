"""The pods do not start: what is in the way, and what can the user do about it?

The job goes on by itself once it is mended; only what cannot change while the job exists ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from paceline.api import reasons
from paceline_operator.policies.observed import PodSeen, Refusal

# A pod usually waits this long for nodes, mounts and networks without anything being wrong.
PATIENCE = timedelta(seconds=10)
# Where Secrets are mounted, one that is missing is told in the Events of the first moments, and is worth a look.
MOUNT_PATIENCE = timedelta(seconds=2)
LOOK_AGAIN = timedelta(seconds=15)
LOOK_AGAIN_SOON = timedelta(seconds=4)
# On a busy node the kubelet's first word about a mount comes late.
MOUNTS_SOON = timedelta(seconds=60)
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
# The scheduler's words about a pod that would have a node, if all of its PodGroup had one.
GANG_WAITS = "pods from a gang"
HARMLESS = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is in the way."""

    condition: Literal["Scheduled", "Running"]
    reason: str
    message: str
    final: bool = False
    pod: str = ""
    """The pod that waits."""
    said: str = ""
    """The words of the kubelet."""


def decide(current: Sequence[PodSeen], refusals: Sequence[Refusal], warnings: Mapping[str, str]) -> Problem | None:
    """Name the first thing in the way: refused pods, then pods without a node, then containers that do not start."""
    for refusal in refusals:
        return _refused(refusal)
    unplaced = [pod for pod in current if not pod.node]
    told = next((pod for pod in unplaced if pod.unschedulable and not _gang_waits(pod)), None)
    if told is not None:
        return _unschedulable(told, told.unschedulable, current)
    for pod in unplaced:
        if said := warnings.get(pod.group, ""):
            return _unschedulable(pod, said, current)
    for pod in current:
        if pod.node and not pod.running and pod.exit_code is None:
            found = _not_starting(pod, warnings.get(pod.name, ""))
            if found is not None:
                return found
    return None


def to_inspect(
    current: Sequence[PodSeen], now: datetime, *, mounts: bool = False, looked: datetime | None = None
) -> tuple[tuple[str, ...], timedelta | None]:
    """Return a pod whose Events may tell why it hangs, and when to ask again: mounts fail without a trace in the pod.

    Args:
        current: Pods of the attempt.
        now: UTC.
        mounts: They mount Secrets.
        looked: When Events of one of them were last read.
    """
    patience = MOUNT_PATIENCE if mounts else PATIENCE
    waits = [pod for pod in current if pod.created and _hangs(pod)]
    if not waits:
        return (), None
    oldest = min(waits, key=lambda pod: pod.created or now)
    assert oldest.created is not None
    waited = now - oldest.created
    pause = LOOK_AGAIN_SOON if mounts and waited < MOUNTS_SOON else LOOK_AGAIN
    due = patience if looked is None else max(patience, looked + pause - oldest.created)
    if waited < due:
        return (), max(due - waited, timedelta(seconds=1))
    return (oldest.name,), pause


def _hangs(pod: PodSeen) -> bool:
    waits = pod.node and not pod.running and pod.exit_code is None and pod.phase == "Pending"
    return bool(waits and pod.waiting_reason in HARMLESS)


def group_to_inspect(current: Sequence[PodSeen], now: datetime) -> str:
    """Return the PodGroup whose own condition may tell why none of its pods has a node; empty where the pods tell."""
    for pod in current:
        told = pod.unschedulable and not _gang_waits(pod)
        if pod.node or told or not pod.group or not pod.created or now - pod.created < PATIENCE:
            return ""
    return current[0].group if current else ""


def _gang_waits(pod: PodSeen) -> bool:
    """Whether the scheduler only says that this pod waits for the others, for which it tells what they lack."""
    return GANG_WAITS in pod.unschedulable


def _refused(refusal: Refusal) -> Problem:
    said = refusal.message
    if refusal.reason == reasons.NAME_TAKEN:
        return Problem("Scheduled", reasons.NAME_TAKEN, said)
    if refusal.code == 422:
        return Problem(
            "Scheduled",
            reasons.INVALID_SPEC,
            f"the API server finds pod {refusal.name} invalid: {said}; correct spec (most likely "
            "podTemplate) in a new job",
            final=True,
        )
    if "exceeded quota" in said:
        return Problem(
            "Scheduled",
            reasons.QUOTA_EXCEEDED,
            f"{said}; the job starts when the namespace's ResourceQuota has room: free some, or ask for more",
        )
    return Problem(
        "Scheduled",
        reasons.POD_REFUSED,
        f"the API server refused {refusal.name} ({refusal.code} {refusal.reason}): {said}; Paceline tries again",
    )


def _unschedulable(pod: PodSeen, said: str, current: Sequence[PodSeen]) -> Problem:
    if "persistentvolumeclaim" in said and "not found" in said:
        return Problem(
            "Scheduled",
            reasons.MISSING_VOLUME,
            f"pod {pod.name}: {said}; create the claim, the job then starts by itself",
        )
    return Problem(
        "Scheduled",
        reasons.UNSCHEDULABLE,
        f"{_so_far(current)}pod {pod.name} finds no node: {said}; add or free nodes, or ask for less in spec.workers",
    )


def _so_far(current: Sequence[PodSeen]) -> str:
    if len(current) == 1:
        return ""
    placed = sum(bool(pod.node) for pod in current)
    return f"{placed or 'none'} of {len(current)} pods {'have' if placed > 1 else 'has'} a node; "


def _not_starting(pod: PodSeen, warning: str) -> Problem | None:
    reason, said = pod.waiting_reason, pod.waiting_message
    if reason == "InvalidImageName":
        return Problem(
            "Running", reasons.IMAGE_PULL_FAILED, f"{said}; write a valid spec.image in a new job", final=True
        )
    if reason in IMAGE_REASONS:
        return Problem(
            "Running",
            reasons.IMAGE_PULL_FAILED,
            f"pod {pod.name} on node {pod.node} cannot get its image: {reason}: {said}; check spec.image and "
            "imagePullSecrets; the node tries again by itself",
        )
    if reason in HARMLESS:
        return _by_event(pod, warning)
    return _missing(pod, f"{reason}: {said}") or Problem(
        "Running",
        reasons.WAITING_FOR_WORKERS,
        f"pod {pod.name} on node {pod.node} does not start: {reason}: {said}; "
        f"kubectl describe pod {pod.name} tells more",
    )


def _by_event(pod: PodSeen, warning: str) -> Problem | None:
    if not warning:
        return None
    return _missing(pod, warning) or Problem(
        "Running",
        reasons.MISSING_VOLUME
        if warning.startswith(("FailedMount", "FailedAttachVolume"))
        else reasons.WAITING_FOR_WORKERS,
        f"pod {pod.name} on node {pod.node} does not start: {warning}; the node tries again by itself",
    )


def _missing(pod: PodSeen, said: str) -> Problem | None:
    lower = said.lower()
    missing = "not found" in lower or "couldn't find key" in lower or "references non-existent" in lower
    if not missing:
        return None
    what = f"pod {pod.name} waits: {said}"
    if "configmap" in lower:
        return Problem(
            "Running",
            reasons.MISSING_CONFIG_MAP,
            f"{what}; create the ConfigMap with that key, the job then starts by itself",
        )
    if "secret" in lower:
        return Problem(
            "Running",
            reasons.MISSING_SECRET,
            f"{what}; create the Secret with that key, the job then starts by itself",
            pod=pod.name,
            said=said,
        )
    if "persistentvolumeclaim" in lower:
        return Problem("Running", reasons.MISSING_VOLUME, f"{what}; create the claim, the job then starts by itself")
    return None
