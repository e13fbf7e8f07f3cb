"""Pods as the API server writes them: only the fields that matter are decoded, into one small value."""

from __future__ import annotations

from datetime import datetime

import msgspec

from paceline_operator import contract
from paceline_operator.policies.observed import PodSeen


class Owner(msgspec.Struct):
    """One owner reference."""

    uid: str = ""
    controller: bool = False


class Meta(msgspec.Struct, rename="camel"):
    """metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    owner_references: list[Owner] = []


class Waiting(msgspec.Struct):
    """A container that waits."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, rename="camel"):
    """A container that has ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class Running(msgspec.Struct):
    """Its presence says all."""


class State(msgspec.Struct):
    """State of a container: one of the three."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class Container(msgspec.Struct, rename="camel"):
    """Status of a container."""

    name: str = ""
    state: State | None = None
    last_state: State | None = None


class Condition(msgspec.Struct):
    """A condition of the pod."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = msgspec.field(default=None, name="lastTransitionTime")


class Group(msgspec.Struct, rename="camel"):
    """spec.schedulingGroup."""

    pod_group_name: str = ""


class Spec(msgspec.Struct, rename="camel"):
    """spec."""

    node_name: str = ""
    scheduling_group: Group | None = None


class Status(msgspec.Struct, rename="camel"):
    """status."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: list[Condition] = []
    container_statuses: list[Container] = []
    init_container_statuses: list[Container] = []


class Pod(msgspec.Struct):
    """A pod; its metadata fit any object."""

    metadata: Meta
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)


class ListMeta(msgspec.Struct, rename="camel"):
    """metadata of a list, and of a bookmark."""

    resource_version: str = "0"
    continue_: str = msgspec.field(default="", name="continue")


class PodList(msgspec.Struct):
    """One page of pods."""

    metadata: ListMeta
    items: list[Pod] = []


class WatchEvent(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Bookmark(msgspec.Struct):
    """What a bookmark says: everything up to this version was sent."""

    metadata: ListMeta


class WatchError(msgspec.Struct):
    """The object of an ERROR event."""

    code: int = 0
    message: str = ""


decode_pod = msgspec.json.Decoder(Pod).decode
decode_list = msgspec.json.Decoder(PodList).decode
decode_event = msgspec.json.Decoder(WatchEvent).decode
decode_bookmark = msgspec.json.Decoder(Bookmark).decode
decode_error = msgspec.json.Decoder(WatchError).decode

# Kept once for all pods: 10,000 of them share a handful of words.
_words: dict[str, str] = {}
FAILED_INIT = "init container {name}: {message}"


def owner_uid(pod: Pod) -> str:
    """Return the uid of the pod's controller; empty without one."""
    return next((owner.uid for owner in pod.metadata.owner_references if owner.controller), "")


def seen(pod: Pod) -> PodSeen | None:
    """Return what matters of a pod; None where it bears no attempt and index of ours."""
    meta, status = pod.metadata, pod.status
    attempt, index = meta.labels.get(contract.LABEL_ATTEMPT, ""), meta.labels.get(contract.LABEL_INDEX, "")
    if not (attempt.isdigit() and index.isdigit()):
        return None
    conditions = {condition.type: condition for condition in status.conditions}
    scheduled, disrupted = conditions.get("PodScheduled"), conditions.get("DisruptionTarget")
    container = next((c for c in status.container_statuses if c.name == contract.WORKER_CONTAINER), None)
    worker = container.state if container else None
    ended = _ended(status, container)
    waiting = _waiting(status)
    return PodSeen(
        name=meta.name,
        uid=meta.uid,
        attempt=int(attempt),
        index=int(index),
        phase=_word(status.phase),
        node=_word(pod.spec.node_name),
        ip=status.pod_ip,
        created=meta.creation_timestamp,
        deleting=meta.deletion_timestamp is not None,
        resource_version=int(meta.resource_version),
        reason=_word(status.reason),
        message=status.message,
        group=_word(pod.spec.scheduling_group.pod_group_name) if pod.spec.scheduling_group else "",
        placed=_placed(pod, scheduled),
        unschedulable=_word(scheduled.message) if scheduled and scheduled.reason == "Unschedulable" else "",
        disruption=_word(disrupted.reason) if disrupted and disrupted.status == "True" else "",
        waiting_reason=_word(waiting.reason) if waiting else "",
        waiting_message=waiting.message if waiting else "",
        running=_runs(status, worker),
        exit_code=ended.exit_code if ended else None,
        exit_reason=_word(ended.reason) if ended else "",
        exit_message=ended.message if ended else "",
        finished=ended.finished_at if ended else None,
    )


def _runs(status: Status, worker: State | None) -> bool:
    if status.phase in ("Succeeded", "Failed"):
        # The kubelet calls an evicted pod failed before it tells that its containers have ended.
        return False
    # Without container statuses (a pod without a kubelet) the phase has to do.
    return worker.running is not None if worker else status.phase == "Running"


def _placed(pod: Pod, scheduled: Condition | None) -> datetime | None:
    if not pod.spec.node_name:
        return None
    # A pod that was made with its node has no such condition.
    told = scheduled.last_transition_time if scheduled and scheduled.status == "True" else None
    return told or pod.metadata.creation_timestamp


def _ended(status: Status, worker: Container | None) -> Terminated | None:
    if worker is not None and worker.state is not None and worker.state.terminated is not None:
        return worker.state.terminated
    if status.phase != "Failed":
        return None
    # A container that the kubelet no longer finds "waits" in a pod that has failed, and ended as its last state says.
    if worker is not None and worker.last_state is not None and worker.last_state.terminated is not None:
        return worker.last_state.terminated
    for init in status.init_container_statuses:
        ended = init.state.terminated if init.state else None
        if ended is not None and ended.exit_code != 0:
            said = FAILED_INIT.format(name=init.name, message=ended.message or ended.reason)
            return Terminated(ended.exit_code, ended.reason, said, ended.finished_at)
    return None


def _waiting(status: Status) -> Waiting | None:
    """The first container that waits with more to say than that it does."""
    found = [
        container.state.waiting
        for container in (*status.init_container_statuses, *status.container_statuses)
        if container.state and container.state.waiting
    ]
    harmless = ("", "PodInitializing", "ContainerCreating")
    return next((waiting for waiting in found if waiting.reason not in harmless), found[0] if found else None)


def _word(text: str) -> str:
    if len(_words) > 10_000:
        _words.clear()
    return _words.setdefault(text, text) if text else ""
