"""Defects put into the real controller: whoever takes one of these for right has a simulator that finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from paceline.api import TrainJob, reasons
from paceline.policy import restart as shared
from paceline_operator.cluster import executor, podgroups
from paceline_operator.cluster.client import ApiError
from paceline_operator.cluster.executor import Executor
from paceline_operator.cluster.memory import Jobs, Remembered
from paceline_operator.cluster.podgroups import PodGroups
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.rollcall import RollCall
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.planning import Plan
from paceline_operator.policies import cleanup, failure, gang, observed, restart, starting, suspend
from paceline_operator.policies.observed import Observed, PodSeen

Patch = pytest.MonkeyPatch


def expectations_dropped(patch: Patch) -> None:
    """What was created and is not shown yet is forgotten."""
    observe = Jobs.observe

    def forgetful(self: Jobs, known: Remembered, now: datetime) -> Observed:
        known.created.clear()
        return observe(self, known, now)

    patch.setattr(Jobs, "observe", forgetful)


def past_attempts_count(patch: Patch) -> None:
    """A failure of a pod of an attempt that is over is taken for one of the current attempt."""
    first = failure.first

    def confused(seen: Observed, job: str, attempt: int, *rest: Any) -> Any:
        every = tuple(replace(pod, attempt=attempt) if pod.failed else pod for pod in seen.pods)
        return first(replace(seen, pods=every), job, attempt, *rest)

    patch.setattr(failure, "first", confused)


def attempt_ignored(patch: Patch) -> None:
    """The pods of past attempts are counted with those of the current one."""
    patch.setattr(Observed, "of", lambda self, attempt: tuple(sorted(self.pods, key=lambda pod: pod.index)))


def requeue_lost(patch: Patch) -> None:
    """The time after which to look again is dropped."""
    reconcile = Reconciler.reconcile

    async def once(self: Reconciler, key: str) -> timedelta | None:
        again = await reconcile(self, key)
        return again if again == timedelta(0) else None

    patch.setattr(Reconciler, "reconcile", once)


def edits_taken_for_echoes(patch: Patch) -> None:
    """Whatever changes a job that was written once is taken for that write."""

    def deaf(self: Reconciler, type: str | None, body: dict[str, Any]) -> bool:
        known = self._jobs.get(f"{body['metadata']['namespace']}/{body['metadata']['name']}")
        return type == "MODIFIED" and known is not None and known.written_version > 0

    patch.setattr(Reconciler, "is_echo", deaf)


def version_not_sent(patch: Patch) -> None:
    """The status is written over whatever is there."""
    write = Executor.patch_status

    async def bold(self: Executor, job: TrainJob, version: int, patch_: dict[str, Any], turn: Any) -> dict[str, Any]:
        found = await self.read_job(job.namespace or "", job.name)
        return await write(self, job, int(found["metadata"]["resourceVersion"]), patch_, turn)

    patch.setattr(Executor, "patch_status", bold)


def past_attempts_stay(patch: Patch) -> None:
    """Pods of attempts that are over are not deleted."""
    patch.setattr(cleanup, "of_past_attempts", lambda pods, attempt, now: ())


def strangers_adopted(patch: Patch) -> None:
    """An object of our name is ours, whoever owns it."""
    patch.setattr(executor, "taken", lambda answer, job, kind, name: None)


def accounts_mixed_up(patch: Patch) -> None:
    """A preemption is counted as a restart."""
    patch.setattr(restart, "_account", lambda cause, action: "uncounted" if action == "RestartUncounted" else "restart")


def one_restart_too_many(patch: Patch) -> None:
    """maxRestarts is read as if it were one more."""
    decide = shared.decide

    def generous(failures: Any, *, account: Any, spent: int, limits: shared.Limits) -> Any:
        more = replace(limits, restarts=limits.restarts + (limits.restarts >= 0))
        return decide(failures, account=account, spent=spent, limits=more)

    patch.setattr(shared, "decide", generous)


def resumed_in_place(patch: Patch) -> None:
    """A resumed job goes on under the names that its ending pods still hold."""
    decide = suspend.decide

    def same(wanted: bool, status: Any, now: datetime) -> Any:
        turn = decide(wanted, status, now)
        return replace(turn, attempt=status.attempt) if isinstance(turn, suspend.Resume) else turn

    patch.setattr(suspend, "decide", same)


def missing_means_not_made(patch: Patch) -> None:
    """A pod that is gone is made again within its attempt."""
    patch.setattr(observed, "COMPLETE", frozenset())
    observe = Jobs.observe
    patch.setattr(Jobs, "observe", lambda self, known, now: replace(observe(self, known, now), complete=False))


def last_words_lost(patch: Patch) -> None:
    """What a pod told before it went is forgotten."""
    patch.setattr(Jobs, "_pod_gone", lambda self, key, owner, last: None)


def memory_for_out_of(patch: Patch) -> None:
    """A kill for memory is taken for any other failure."""
    patch.setattr(failure, "OOM", "NoSuchReason")


def eviction_for_preemption(patch: Patch) -> None:
    """The scheduler's word is not understood."""
    patch.setattr(failure, "PREEMPTED_BY", "NoSuchReason")


def pods_before_the_record(patch: Patch) -> None:
    """Pods are made before the status that decides on them is written."""
    write = Reconciler._write

    async def late(self: Reconciler, key: str, known: Remembered, decided: Plan) -> bool:
        await self._carry_out(known, replace(decided, status=None, delete_job=False))
        return await write(self, key, known, decided)

    patch.setattr(Reconciler, "_write", late)


def survivors_live_on(patch: Patch) -> None:
    """The pods of a suspended job are not deleted."""

    def kept(pod: PodSeen) -> bool:
        return True

    patch.setattr(PodSeen, "over", property(kept))


def services_not_watched(patch: Patch) -> None:
    """A Service that somebody deletes is taken for there."""
    patch.setattr(ServiceStore, "remove", lambda self, uid, resource_version="0", scope="": None)


def roll_not_called(patch: Patch) -> None:
    """What kopf does not tell is never asked for."""

    async def nothing(self: RollCall) -> None:
        pass

    patch.setattr(RollCall, "look", nothing)


def parts_are_held(patch: Patch) -> None:
    """A set that is placed in part keeps its nodes."""
    patch.setattr(gang, "decide", lambda *_: starting.Within())


def sets_are_freed_early(patch: Patch) -> None:
    """A set that is placed in part is freed when half of the time is over."""
    decide = gang.decide

    def hasty(job: TrainJob, current: Any, problem: Any, now: datetime) -> Any:
        return decide(job, current, problem, now + timedelta(seconds=job.spec.scheduling.timeout_seconds / 2))

    patch.setattr(gang, "decide", hasty)


def freed_sets_count(patch: Patch) -> None:
    """That there was no room is counted as a restart."""
    account = restart._account

    def counting(cause: str, action: str | None) -> Any:
        return "restart" if cause == reasons.UNSCHEDULABLE else account(cause, action)

    patch.setattr(restart, "_account", counting)


def starts_take_for_ever(patch: Patch) -> None:
    """A pod that does not start holds its node."""
    patch.setattr(starting, "decide", lambda *_: starting.Within())


def past_groups_stay(patch: Patch) -> None:
    """PodGroups of attempts that are over are not deleted."""
    patch.setattr(gang, "past", lambda groups, job, attempt: ())


def groups_of_others_unknown(patch: Patch) -> None:
    """An operator that takes over knows no PodGroup of the one before."""

    async def served(self: PodGroups, namespace: str | None) -> bool:
        try:
            await self._api.request("GET", podgroups._path(namespace))
        except ApiError:
            return False
        return True

    patch.setattr(PodGroups, "_list", served)


def kinds_taken_for_gone(patch: Patch) -> None:
    """That PodGroups are not served is read as if each of them were gone."""
    patch.setattr(executor, "unserved", lambda error: False)
    patch.setattr(podgroups, "unserved", lambda error: False)


def insistence_ignored(patch: Patch) -> None:
    """A job that insists on PodGroups gets pods without."""
    way = gang.way

    def lax(*given: Any) -> gang.Way:
        found = way(*given)
        return gang.Way.TIMEOUT if found is gang.Way.UNAVAILABLE else found

    patch.setattr(gang, "way", lax)


SEEDED: dict[str, Callable[[Patch], None]] = {
    defect.__name__.replace("_", " "): defect
    for defect in (
        expectations_dropped, past_attempts_count, requeue_lost, attempt_ignored, version_not_sent,
        edits_taken_for_echoes,
        past_attempts_stay, strangers_adopted, accounts_mixed_up, one_restart_too_many, resumed_in_place,
        missing_means_not_made, last_words_lost, memory_for_out_of, eviction_for_preemption, pods_before_the_record,
        survivors_live_on, services_not_watched,
        roll_not_called, parts_are_held, sets_are_freed_early, freed_sets_count, starts_take_for_ever, past_groups_stay,
        groups_of_others_unknown, kinds_taken_for_gone, insistence_ignored,
    )
}  # fmt: skip
"""By name; the first three are those that part 3 asks for."""
