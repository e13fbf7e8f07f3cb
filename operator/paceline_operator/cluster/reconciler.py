"""One look at one job: snapshot, plan, execute. What to do is decided in planning/, never here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from pydantic import ValidationError

from paceline.api import TrainJobStatus
from paceline.policy.restart import Account
from paceline_operator import contract
from paceline_operator.cluster import mergepatch, unreadable, warnings
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import ApiError
from paceline_operator.cluster.executor import CONFLICT, FORBIDDEN, NOT_FOUND, Api, Executor
from paceline_operator.cluster.gate import Gate, Turn
from paceline_operator.cluster.memory import NEVER_SHOWN, Jobs, Remembered
from paceline_operator.cluster.podgroups import PodGroups
from paceline_operator.cluster.rollcall import Present
from paceline_operator.cluster.tensorboards import TensorBoards
from paceline_operator.planning import Note, Plan, plan
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import Observed, Refusal

log = logging.getLogger(__name__)


class Notes(Protocol):
    """Where events go."""

    def post(self, job: Any, note: Note) -> None:
        """Hand over a note."""
        ...


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(timezone.utc)


class Reconciler:
    """Brings jobs to where their specs want them."""

    def __init__(
        self,
        api: Api,
        jobs: Jobs,
        notes: Notes,
        config: JobDefaults,
        *,
        gate: Gate | None = None,
        groups: PodGroups | None = None,
        now: Callable[[], datetime] = utc_now,
        counted: Callable[[str, int], None] = lambda what, count: None,
    ) -> None:
        self._api = api
        self._jobs = jobs
        self._notes = notes
        self._config = config
        self._now = now
        self._counted = counted
        gate = gate or Gate()
        self._executor = Executor(api, config, gate)
        self._tensorboards = TensorBoards(api, config, gate)
        self._groups = groups or PodGroups(api, gate=gate)
        self._unreadable: dict[str, unreadable.Unreadable] = {}

    async def reconcile(self, key: str) -> timedelta | None:
        """Look at a job once; return when to look again though nothing happens.

        Raises:
            ApiError: The API server refused or failed: look again later.
            UnreachableError: No answer: look again later.
        """
        if (strange := self._unreadable.get(key)) is not None:
            await self._tell_unreadable(key, strange)
            return None
        known = self._jobs.get(key)
        if known is None:
            return None
        now = self._now()
        decided = plan(known.job, self._observe(known, now), now, self._config)
        if decided.refresh:
            return await self._refresh(key, known)
        if decided.status is not None and not await self._write(key, known, decided):
            return timedelta(0)
        if _asks_again(known, decided) and not await self._stands(known):
            return timedelta(0)
        known.leave_unwritten(decided.waiting, self._now())
        for note in decided.events:
            self._tell(known, note)
        refused, warned = _kinds(known), _told(known)
        await self._carry_out(known, decided)
        if decided.delete_job:
            return None
        # What was done has changed the snapshot: created pods are known, refusals too.
        again = (refused, warned) != (_kinds(known), _told(known)) or self._look_again(known, decided)
        return timedelta(0) if again else decided.requeue_after

    def _observe(self, known: Remembered, now: datetime) -> Observed:
        seen, groups = self._jobs.observe(known, now), self._groups
        return replace(seen, pod_groups=groups.served(known.job.namespace), groups=groups.of(known.job))

    async def _write(self, key: str, known: Remembered, decided: Plan) -> bool:
        """Put the status on record; False when the job has changed meanwhile and was read anew."""
        assert decided.status is not None
        wanted = decided.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        patch = mergepatch.diff(known.status, wanted)
        if not patch:
            return True
        # What pods wait for, or what is done next, goes before what merely tells.
        turn = Turn.NOW if decided.create or decided.delete else Turn.SOON
        try:
            body = await self._executor.patch_status(known.job, known.resource_version, patch, turn)
        except ApiError as error:
            if error.code not in (CONFLICT, NOT_FOUND):
                raise
            await self._refresh(key, known)
            return False
        known.last_write = self._now()
        known.written_version = int(body["metadata"]["resourceVersion"])
        if decided.status.phase == "Restarting" and decided.status.attempt > known.job.status.attempt:
            self._counted(_account(known.job.status, decided.status), 1)
        self._jobs.put(body, self._now())
        log.info("%s: %s (attempt %d)", key, decided.status.phase, decided.status.attempt, extra={"job": key})
        return True

    async def _refresh(self, key: str, known: Remembered) -> timedelta | None:
        try:
            body = await self._executor.read_job(known.job.namespace, known.job.name)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            self.forget(key, known.job.uid)
            return None
        self.take(body)
        return timedelta(seconds=0.2)

    async def _tell_unreadable(self, key: str, strange: unreadable.Unreadable) -> None:
        patch = strange.patch(self._now())
        if patch is None:
            return
        try:
            await self._executor.patch_status(strange.job, strange.resource_version, patch, Turn.SOON)
        except ApiError as error:
            if error.code not in (CONFLICT, NOT_FOUND):
                raise
            if error.code == NOT_FOUND:
                self.forget(key, strange.job.uid)
            return  # The watch brings what it is now.
        log.error("%s: %s", key, strange.message, extra={"job": key})
        self._notes.post(strange.job, strange.note)

    async def _carry_out(self, known: Remembered, decided: Plan) -> None:
        if decided.delete_job:
            await self._executor.delete_job(known.job)
            return
        if not decided.create:
            known.refusals.pop("pods", None)
        failures = [failure for step in self._steps(known, decided) for failure in await _failures(*step)]
        if failures:
            raise failures[0]

    def _steps(self, known: Remembered, decided: Plan) -> Iterator[list[Awaitable[None]]]:
        """Yield what is to be done, step by step: the works of a step go side by side, whatever failed before.

        The pods first: their agents ask for the Service's names only once they run, a second later. A Service with no
        pods yet costs its controller two more writes for each time that some of them get addresses. What is left of the
        last attempt ends by itself, and its deletion would take half of the API server's time from the pods.
        """
        if decided.create:
            yield [self._create_pods(known, decided)]
        works: list[Awaitable[None]] = []
        if decided.service:
            works.append(self._create_service(known, decided))
        if decided.tensorboard:
            works.append(self._make_tensorboard(known))
        if decided.delete:
            works.append(self._delete(known, decided))
        if decided.delete_groups:
            works.append(self._groups.delete(known.job, decided.delete_groups))
        if decided.delete_service:
            works.append(self._delete_service(known))
        if decided.inspect or decided.inspect_group:
            works.append(self._inspect(known, decided))
        yield works

    async def _create_service(self, known: Remembered, decided: Plan) -> None:
        refused, nothing_else = "service" in known.refusals, not decided.create and decided.status is None
        if nothing_else and not refused and not await self._stands(known):
            return
        found = await self._executor.create_service(known.job, look_first=refused)
        if isinstance(found, Refusal):
            known.refusals["service"] = found
            return
        known.refusals.pop("service", None)
        shown = contract.LABEL_JOB in found.metadata.labels
        known.service_made = found.metadata.uid
        known.service_version = int(found.metadata.resource_version) if shown else NEVER_SHOWN

    async def _make_tensorboard(self, known: Remembered) -> None:
        note = await self._tensorboards.make(known, self._now())
        if note is not None:
            self._tell(known, note)

    async def _stands(self, known: Remembered) -> bool:
        """Whether the job is still there, unchanged.

        Its Service or pods may have gone with it, and the watch of TrainJobs has not told: they would be made again
        and again.
        """
        key, version = f"{known.job.namespace}/{known.job.name}", known.resource_version
        await self._refresh(key, known)
        return self._jobs.get(key) is known and known.resource_version == version

    async def _create_pods(self, known: Remembered, decided: Plan) -> None:
        known.asked_attempt = decided.attempt
        if decided.make_group:
            refusal = await self._groups.create(known.job, decided.attempt)
            if refusal is not None:
                known.refusals["pods"] = refusal
            if refusal is not None or not self._groups.served(known.job.namespace):
                return

        def there(pod: wire.Pod) -> None:
            if (seen := wire.seen(pod)) is not None:
                known.created[seen.uid] = seen

        made, refusals = await self._executor.create_pods(
            known.job, decided.attempt, decided.create, there, grouped=decided.grouped
        )
        self._counted("pods", len(made))
        if refusals:
            known.refusals["pods"] = refusals[0]
        else:
            known.refusals.pop("pods", None)

    async def _delete(self, known: Remembered, decided: Plan) -> None:
        known.deleting.update(await self._executor.delete_pods(known.job.namespace, decided.delete))

    async def _delete_service(self, known: Remembered) -> None:
        uid = self._jobs.service(known)
        await self._executor.delete_service(known.job, uid)
        known.service_gone = uid

    async def _inspect(self, known: Remembered, decided: Plan) -> None:
        if decided.inspect:
            known.looked = self._now()
        for name in decided.inspect:
            known.warnings[name] = await self._warning(known.job.namespace, name)
        if group := decided.inspect_group:
            known.warnings[group] = await self._groups.sentence(known.job.namespace, group)

    async def _warning(self, namespace: str, pod: str) -> str:
        try:
            return await warnings.newest(self._api, namespace, pod)
        except ApiError as error:
            if error.code != FORBIDDEN:
                raise
            # Without that right no cause is named; what is decided must not wait for it.
            log.warning("the events of pod %s cannot be read: %s", pod, error)
            return ""

    def _tell(self, known: Remembered, note: Note) -> None:
        log.info("%s: %s", note.reason, note.message, extra={"job": f"{known.job.namespace}/{known.job.name}"})
        self._notes.post(known.job, note)

    def _look_again(self, known: Remembered, decided: Plan) -> bool:
        # After a write always: the event that tells of it is no reason for a look.
        looked_after = decided.status is not None or decided.tensorboard
        return looked_after or (bool(decided.create) and not known.refusals)

    def is_echo(self, type: str | None, body: dict[str, Any]) -> bool:
        """Whether an event tells of this operator's own last write and of nothing else.

        That body was the answer to the write, and a look followed. What a list tells (no type) is never one.
        """
        metadata = body.get("metadata") or {}
        known = self._jobs.get(_key(metadata))
        if type != "MODIFIED" or known is None or known.job.uid != metadata.get("uid"):
            return False
        return int(metadata.get("resourceVersion") or 0) == known.written_version

    def take(self, body: dict[str, Any]) -> str:
        """Take over a body from a watch or an answer; return its key."""
        metadata = body.get("metadata") or {}
        key = _key(metadata)
        if self._is_old(key, metadata):
            return key
        try:
            self._jobs.put(body, self._now())
        except ValidationError as error:
            # What was read before must not be acted on: it is no longer what the user wants.
            self._jobs.forget(key)
            self._unreadable[key] = unreadable.read(body, error)
        else:
            self._unreadable.pop(key, None)
        return key

    def _is_old(self, key: str, metadata: dict[str, Any]) -> bool:
        """Whether a newer body of this very job is known."""
        known = self._unreadable.get(key) or self._jobs.get(key)
        if known is None or known.job.uid != metadata.get("uid"):
            return False
        return int(metadata.get("resourceVersion") or 0) < known.resource_version

    def gone(self, body: dict[str, Any]) -> None:
        """Forget a job that was deleted."""
        metadata = body.get("metadata") or {}
        self.forget(_key(metadata), metadata.get("uid", ""))

    def forget(self, key: str, uid: str) -> None:
        """Forget this very job: it is no more."""
        self._jobs.forget(key, uid)
        self._groups.forget(uid)
        strange = self._unreadable.get(key)
        if strange is not None and strange.job.uid == uid:
            del self._unreadable[key]

    def remembered(self) -> Iterator[Present]:
        """Yield all jobs that are known, readable or not."""
        for key, known in (*self._jobs, *self._unreadable.items()):
            yield Present(key, known.job.uid, known.resource_version)


async def _failures(*works: Awaitable[None]) -> list[Exception]:
    """Do all of it side by side, whatever fails; return what did. When this is cancelled, so is all of it."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return [result for result in results if isinstance(result, Exception)]


def _key(metadata: dict[str, Any]) -> str:
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _asks_again(known: Remembered, decided: Plan) -> bool:
    """Whether pods of an attempt are asked for once more, and no write of the status finds out that the job is gone."""
    return bool(decided.create) and decided.status is None and known.asked_attempt == decided.attempt


def _kinds(known: Remembered) -> dict[str, tuple[int, str]]:
    """What is refused and why, without the message, which may differ each time."""
    return {what: (refusal.code, refusal.reason) for what, refusal in known.refusals.items()}


def _told(known: Remembered) -> dict[str, str]:
    """What hanging pods and groups were found to wait for: looked at again only when that is new."""
    return {name: text for name, text in known.warnings.items() if text}


def _account(before: TrainJobStatus, after: TrainJobStatus) -> Account:
    if after.restarts > before.restarts:
        return "restart"
    return "preemption" if after.preemptions > before.preemptions else "uncounted"
