"""PodGroups: whether they can be had, which there are, and the writes and reads of single ones.

They are not watched. What there is was listed when the operator began to lead, and what this operator wrote since is
known: so a crash between two writes leaves none behind. While the API server serves none, those that are there can be
neither seen nor deleted. The list that finds them served again tells of them, and their jobs are looked at once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import THROTTLED, ApiError, UnreachableError
from paceline_operator.cluster.executor import (
    FORBIDDEN,
    NOT_FOUND,
    Api,
    delete_this,
    encode,
    refusal,
    taken,
    unserved,
)
from paceline_operator.cluster.gate import Gate, Turn
from paceline_operator.cluster.listing import pages
from paceline_operator.policies.observed import Refusal
from paceline_operator.resources.podgroup import pod_group

log = logging.getLogger(__name__)

# One request for each watched namespace: rarely while all is well, soon where somebody may be waiting for it.
SERVED_AGAIN_S = 600.0
UNSERVED_AGAIN_S = 60.0
# No answer is not a no.
UNANSWERED_AGAIN_S = 5.0
STAYS = "one that never goes: kube-controller-manager needs the feature gate GenericWorkload too"


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Group(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


_decode_group = msgspec.json.Decoder(_Group).decode


class PodGroups:
    """The PodGroups of the watched namespaces."""

    def __init__(
        self,
        api: Api,
        namespaces: Sequence[str] = (),
        gate: Gate | None = None,
        again: Callable[[str], None] = lambda key: None,
    ) -> None:
        self._api = api
        self._gate = gate or Gate()
        self._again = again
        self._served: dict[str | None, bool] = dict.fromkeys(namespaces or (None,), False)
        self._known: dict[str, dict[str, str]] = {}
        """By uid of the job: name and uid of each PodGroup. Empty: it was asked for, and no answer came."""
        self._unanswered = False

    def served(self, namespace: str) -> bool:
        """Tell whether PodGroups can be made in a namespace, as far as is known."""
        return self._served.get(namespace, self._served.get(None, False))

    def of(self, job: TrainJob) -> tuple[str, ...]:
        """Return the names of the PodGroups that a job has; not one that its attempt has yet to ask for again."""
        asked_again = "" if job.status.finished else contract.group_name(job.name, job.status.attempt)
        known = self._known.get(job.uid, {})
        return tuple(name for name, uid in known.items() if uid or name != asked_again)

    def forget(self, uid: str) -> None:
        """Drop what is known of a job that is gone."""
        self._known.pop(uid, None)

    async def look(self) -> None:
        """Ask in each namespace whether PodGroups are served and allowed, and which there are of ours.

        Raises:
            ApiError: The server failed.
            UnreachableError: No answer.
        """
        self._unanswered = True
        for namespace in list(self._served):
            keys = await self._list(namespace)
            served = keys is not None
            if served == self._served[namespace]:
                continue
            where = f" in {namespace}" if namespace else ""
            log.info("%s are %s%s", contract.POD_GROUPS, "used" if served else "not to be had", where)
            self._served[namespace] = served
            # Attempts may have ended while nobody could delete theirs.
            for key in keys or ():
                self._again(key)
        self._unanswered = False

    async def run(self) -> None:
        """Look again from time to time, until cancelled."""
        rests_s = 0.0
        while True:
            # That they are not served is noticed in between too, by a write.
            wait_s = UNANSWERED_AGAIN_S if self._unanswered else UNSERVED_AGAIN_S
            await asyncio.sleep(wait_s)
            rests_s += wait_s
            if not self._unanswered and all(self._served.values()) and rests_s < SERVED_AGAIN_S:
                continue
            rests_s = 0.0
            try:
                await self.look()
            except (ApiError, UnreachableError) as error:
                log.warning("cannot ask for %s: %s", contract.POD_GROUPS, error)

    async def _list(self, namespace: str | None) -> set[str] | None:
        """Return the keys of the jobs that have some; None where they cannot be had."""
        ask = lambda params: self._api.request("GET", _path(namespace), params=params)  # noqa: E731
        keys = set()
        try:
            async for page in pages(ask, labelSelector=f"{contract.LABEL_MANAGED_BY}={contract.MANAGED_BY}"):
                for found in page.items:
                    if found.metadata.deletion_timestamp is None:
                        self._learn(wire.owner_uid(found), found)
                        keys.add(f"{found.metadata.namespace}/{found.metadata.labels.get(contract.LABEL_JOB, '')}")
        except ApiError as error:
            if error.code == THROTTLED or error.code >= 500:
                raise
            return None
        return keys

    async def create(self, job: TrainJob, attempt: int) -> Refusal | None:
        """Make the PodGroup of an attempt; return why it could not be.

        One that exists already and belongs to this job counts as made. Where PodGroups have gone, or the right to make
        them, `served` says so afterwards.

        Raises:
            ApiError: The server failed (5xx).
            UnreachableError: No answer.
        """
        name, path = contract.group_name(job.name, attempt), _path(job.namespace)
        # Without an answer it may be there, and the attempt may be over before it is asked for again.
        known = self._known.setdefault(job.uid, {})
        known[name] = ""
        try:
            async with self._gate.pass_(Turn.NOW):
                answer = await self._api.request("POST", path, encode(pod_group(job, attempt)))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                why = self._refused(job.namespace, name, error)
                known.pop(name, None)
                return why
            answer = await self._api.request("GET", f"{path}/{name}")
            if (why := taken(answer, job, "PodGroup", name)) is not None:
                known.pop(name, None)
                return replace(why, message=f"{why.message} ({STAYS})")
        self._learn(job.uid, wire.decode_pod(answer))
        return None

    async def delete(self, job: TrainJob, names: Sequence[str]) -> None:
        """Delete PodGroups of a job. Kubernetes keeps each until its last pod is gone.

        Where none are served nothing is asked for, and they are forgotten until a list shows them again.

        Raises:
            ApiError: The server failed.
            UnreachableError: No answer.
        """
        known = self._known.get(job.uid, {})
        for name in names:
            if self.served(job.namespace):
                await self._delete(job, name, known[name])
            del known[name]

    async def _delete(self, job: TrainJob, name: str, uid: str) -> None:
        try:
            async with self._gate.pass_(Turn.SOON):
                if not (uid := uid or await self._uid(job, name)):
                    return
                if not await delete_this(self._api, f"{_path(job.namespace)}/{name}", uid):
                    self._gone(job.namespace, f"{name} stays until there are some again")
        except ApiError as error:
            if error.code != FORBIDDEN:
                raise
            log.warning("PodGroup %s stays until its job goes: %s", name, error)

    async def _uid(self, job: TrainJob, name: str) -> str:
        """Return the uid of a PodGroup of the job; empty where there is none."""
        try:
            found = wire.decode_pod(await self._api.request("GET", f"{_path(job.namespace)}/{name}"))
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            if unserved(error):
                self._gone(job.namespace, error)
            return ""
        return found.metadata.uid if wire.owner_uid(found) == job.uid else ""

    async def sentence(self, namespace: str, name: str) -> str:
        """Return what the scheduler says of a PodGroup that it does not place; empty for nothing.

        Raises:
            ApiError: The server refused.
            UnreachableError: No answer.
        """
        try:
            group = _decode_group(await self._api.request("GET", f"{_path(namespace)}/{name}"))
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            if unserved(error):
                self._gone(namespace, error)
                return ""
            return f"PodGroup {name} is gone: delete one of the pods, and all are made anew with theirs"
        said = (found.message for found in group.status.conditions if found.type == contract.POD_GROUP_SCHEDULED
                and found.status == "False")  # fmt: skip
        return next(said, "")

    def _refused(self, namespace: str, name: str, error: ApiError) -> Refusal | None:
        # An admission plugin forbids in other words: that is told to the user.
        no_right = error.code == FORBIDDEN and "cannot create resource" in error.message
        if not unserved(error) and not no_right:
            return refusal(name, error)
        self._gone(namespace, error)
        return None

    def _gone(self, namespace: str, why: object) -> None:
        log.warning("no PodGroups any more in %s: %s", namespace, why)
        self._served[namespace] = False

    def _learn(self, uid: str, found: wire.Pod) -> None:
        if uid:
            self._known.setdefault(uid, {})[found.metadata.name] = found.metadata.uid


def _path(namespace: str | None) -> str:
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{contract.POD_GROUP_API}/{where}podgroups"
