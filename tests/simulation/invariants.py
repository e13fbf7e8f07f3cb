"""What must hold, whatever goes wrong. Checked at each change, at each write of an operator, and every few seconds."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from paceline.api import reasons
from tests.simulation.api import Body, Event, owner
from tests.simulation.bounds import GONE_WITHIN_S, PROMPT_S, ROLL_CALL_S, BrokenError, Lasting, hold
from tests.simulation.machines import Worker
from tests.simulation.together import Together, account_of
from tests.support.pods import T0

if TYPE_CHECKING:
    from tests.simulation.operators import Process
    from tests.simulation.truth import Incident, JobTruth
    from tests.simulation.world import World

FINISHED = ("Succeeded", "Failed")


class Invariants:
    """All of them, over one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._together = Together(world)
        self._since: dict[tuple[str, str], float] = {}
        """Since when something is so that may be so only for a time: what and uid."""

    # --- at each change ---------------------------------------------------------------------------------------

    def changed(self, kind: str, event: Event, before: Body | None) -> None:
        """Check a change of the cluster."""
        try:
            if kind == "trainjobs":
                self._job(event, before)
            elif kind == "pods" and event.type == "ADDED":
                self._created(event.body)
        except BrokenError as error:
            self._world.break_(str(error))

    def _job(self, event: Event, before: Body | None) -> None:
        truth = self._world.truth.jobs[event.body["metadata"]["uid"]]
        spec = event.body["spec"]
        limit = spec.get("activeDeadlineSeconds") or 0
        if not truth.limits or truth.limits[-1][1] != limit:
            truth.limits.append((self._world.time(), limit))
        if event.type != "MODIFIED" or before is None:
            return
        old, new = before.get("status") or {}, event.body.get("status") or {}
        if old == new:
            return
        name = event.body["metadata"]["name"]
        phase, was = new.get("phase"), old.get("phase")
        self._world.truth.counts[f"phase {phase}"] += phase != was
        if was in FINISHED:
            hold(_final(new) == _final(old), f"{name} was {was} and is {phase}: a finished job has changed")
        counts = new.get("workers") or {}
        desired = spec["workers"]["count"]
        for what in ("scheduled", "running", "succeeded", "failed"):
            hold(counts.get(what, 0) <= desired, f"{name} counts {counts.get(what)} workers {what} of {desired}")
        there = counts.get("running", 0) + counts.get("succeeded", 0) + counts.get("failed", 0)
        hold(there <= desired, f"{name} counts {there} workers that run or have ended, of {desired}")
        self._attempts(name, truth, spec, old, new)
        if phase == "Succeeded" and was != phase:
            attempt = new.get("attempt", 0)
            for index in range(truth.plan.pods):
                hold((attempt, index) in truth.ended_well, f"{name} is Succeeded, and worker {index} never was")
        if phase == "Failed" and was != phase:
            self._failed(name, truth, spec, old, new)

    def _attempts(self, name: str, truth: JobTruth, spec: Body, old: Body, new: Body) -> None:
        """A new attempt, and a new record, each have their reason."""
        before, after = old.get("attempt", 0), new.get("attempt", 0)
        hold(after >= before, f"{name} went back from attempt {before} to {after}")
        hold(after <= before + 1, f"{name} went from attempt {before} to {after}")
        restarts = new.get("restarts", 0) - old.get("restarts", 0)
        preemptions = new.get("preemptions", 0) - old.get("preemptions", 0)
        hold(restarts >= 0 and preemptions >= 0, f"{name} counts fewer restarts than before")
        for grown, field, limit in (
            (restarts, "restarts", "maxRestarts"),
            (preemptions, "preemptions", "maxPreemptions"),
        ):
            allowed = spec["failurePolicy"][limit]
            within = not grown or allowed < 0 or new[field] <= allowed
            hold(within, f"{name} has {new.get(field)} {field} of {allowed}")
        known = {record["attempt"] for record in old.get("history") or []}
        recorded = [record for record in new.get("history") or [] if record["attempt"] not in known]
        hold(
            len({r["attempt"] for r in new.get("history") or []}) == len(new.get("history") or []),
            f"{name} tells two ends of one attempt",
        )
        for record in recorded:
            hold(
                record["attempt"] == before, f"{name} tells the end of attempt {record['attempt']} in attempt {before}"
            )
            self._world.truth.counts[f"cause {record['cause']}"] += 1
            self._cause(name, truth, record)
        if after == before:
            hold(restarts + preemptions == 0, f"{name} counts a restart and does not restart")
            hold(not recorded or new.get("phase") == "Failed", f"{name} tells an end and goes on")
            return
        self._world.truth.counts["restarts"] += restarts
        self._world.truth.counts["preemptions"] += preemptions
        if recorded:
            cause, account = recorded[0]["cause"], account_of(truth.plan.rule, recorded[0]["cause"])
            counted = {(1, 0): "restart", (0, 1): "preemption", (0, 0): "uncounted"}.get((restarts, preemptions))
            hold(counted == account, f"{name} counts {cause} as {restarts} + {preemptions}, and it is {account}")
            told = recorded[0].get("countedAs")
            hold(told == account, f"{name} tells that {cause} is {told}, and it is {account}")
            return
        self._world.truth.counts["resumes"] += 1
        hold(old.get("phase") == "Suspended", f"{name} begins attempt {after} for no reason")
        hold(restarts + preemptions == 0, f"{name} counts a restart for a resume")
        hold(truth.suspended > 0 or truth.plan.suspended, f"{name} resumes and was never suspended")

    def _cause(self, name: str, truth: JobTruth, record: Body) -> None:
        """The failure that is told happened, and to this worker."""
        if record["cause"] in (reasons.UNSCHEDULABLE, reasons.START_TIMEOUT):
            late = self._together.premature(truth, record)
            hold(not late, f"{name} tells {record['cause']} of rank {record.get('rank')}: {late}")
            return
        real = truth.incidents.get(record["attempt"], [])
        said = f"{name} tells {record['cause']} of rank {record.get('rank')} in attempt {record['attempt']}"
        hold(bool(real), f"{said}: nothing happened")
        index = (record.get("rank") or 0) // truth.plan.per_pod
        told = [(incident.cause, incident.index) for incident in real]
        if record["cause"] == reasons.POD_DELETED and self._missed(name, record["attempt"], index, real):
            return
        hold(
            (record["cause"], index) in told,
            f"{name} tells {record['cause']} of pod {index} in attempt {record['attempt']}; true is one of {told}",
        )

    def _missed(self, name: str, attempt: int, index: int, real: list[Incident]) -> bool:
        """Whether the pod was gone before anybody looked: nobody can know its last words."""
        unseen = any(incident.index == index and incident.at <= self._world.blind_until for incident in real)
        return unseen and self._world.api.get("pods", f"{name}-{attempt}-{index}") is None

    def _failed(self, name: str, truth: JobTruth, spec: Body, old: Body, new: Body) -> None:
        """A job that failed had to."""
        reason = next(c["reason"] for c in new["conditions"] if c["type"] == "Failed")
        self._world.truth.counts[f"failed {reason}"] += 1
        policy = spec["failurePolicy"]
        if reason == reasons.MAX_RESTARTS_REACHED:
            hold(new.get("restarts", 0) >= policy["maxRestarts"] >= 0, f"{name} failed before its restarts were spent")
        elif reason == reasons.MAX_PREEMPTIONS_REACHED:
            spent = new.get("preemptions", 0) >= policy["maxPreemptions"] >= 0
            hold(spent, f"{name} failed before its preemptions were spent")
        elif reason == reasons.DEADLINE_EXCEEDED:
            limit = spec.get("activeDeadlineSeconds") or 0
            active = self._world.time() - _seconds(new["startTime"]) - new.get("suspendedSeconds", 0)
            hold(bool(limit) and active >= limit - 1, f"{name} failed after {active:.1f} s of a deadline of {limit} s")
        elif reason == reasons.INVALID_SPEC:
            hold(truth.plan.invalid, f"{name} failed as invalid, and is not")
        else:
            final = reason in (reasons.STORAGE_ERROR, reasons.INVALID_CONFIG) or truth.plan.rule.startswith("Fail:")
            hold(final, f"{name} failed by {reason}")

    def _created(self, pod: Body) -> None:
        """Pods are made for the attempt on record alone."""
        labels = pod["metadata"]["labels"]
        job = self._world.job(labels["paceline.dev/job"])
        self._together.created(pod)
        if job is None or job["metadata"]["uid"] != owner(pod):
            truth = self._world.truth.jobs[owner(pod)]
            late = self._world.time() - (truth.deleted or 0.0)
            said = f"{pod['metadata']['name']} was created {late:.1f} s after the deletion of its job"
            hold(late < PROMPT_S or self._world.excused, said)
            return
        status = job.get("status") or {}
        attempt, on_record = int(labels["paceline.dev/attempt"]), status.get("attempt", 0)
        hold(attempt <= on_record, f"{pod['metadata']['name']} was created, and attempt {on_record} is on record")
        again = attempt == on_record and status.get("phase") in ("Scheduling", "Starting", "Running")
        hold(not again or self._world.excused, f"{pod['metadata']['name']} was made again within its attempt")
        hold(int(labels["paceline.dev/index"]) < self._world.truth.jobs[owner(pod)].plan.pods, "a pod beyond the last")

    def runs(self, worker: Worker) -> None:
        """Check that a worker that begins to run has no double."""
        for other in self._world.kubelets.workers.values():
            if other is not worker and other.live and other.job_uid == worker.job_uid:
                double = (other.attempt, other.index) == (worker.attempt, worker.index)
                if double:
                    self._world.break_(f"two live workers for {worker.name}")

    # --- at each write of an operator -----------------------------------------------------------------------------

    def requested(self, method: str, kind: str, name: str, body: Body) -> None:
        """Check what an operator is about to do."""
        if method == "POST" and kind in ("pods", "podgroups"):
            found = self._world.api.get(kind, body["metadata"]["name"])
            again = found is not None and owner(found) == owner(body) and not self._world.excused
            hold(not again, f"the operator creates {body['metadata']['name']}, which it has created already")
        if method != "DELETE":
            return
        found = self._world.api.get(kind, name)
        if found is None:
            return
        if body.get("preconditions", {}).get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            return  # Another object by that name: the API server refuses.
        if kind == "trainjobs":
            phase = (found.get("status") or {}).get("phase")
            hold(phase in FINISHED, f"the operator deletes {name}, which is {phase}")
            return
        if kind != "pods":
            return
        job = self._world.job(found["metadata"]["labels"]["paceline.dev/job"])
        if job is None or job["metadata"]["uid"] != owner(found):
            return
        status = job.get("status") or {}
        past = int(found["metadata"]["labels"]["paceline.dev/attempt"]) < status.get("attempt", 0)
        over = status.get("phase") in (*FINISHED, "Suspended")
        hold(past or over, f"the operator deletes {name} of the attempt that is on record, in {status.get('phase')}")

    # --- every few seconds ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check what may be so only for a time. Raises BrokenError."""
        now, world = self._world.time(), self._world
        current: Lasting = {}
        for pod in world.api.objects["pods"].values():
            self._pod_goes(pod, current)
        for job in world.api.objects["trainjobs"].values():
            self._job_moves(job, current)
        self._together.groups(current)
        for process in world.operators():
            self._forgets(process, current)
        excused = self._world.excused
        self._since = {key: self._since.get(key, now) if not excused else now for key in current}
        for (what, uid), since in self._since.items():
            hold(now - since <= current[what, uid], f"{uid}: {what} for {now - since:.1f} s")

    def _pod_goes(self, pod: Body, current: Lasting) -> None:
        metadata = pod["metadata"]
        job = self._world.job(metadata["labels"]["paceline.dev/job"])
        if "deletionTimestamp" in metadata or pod["status"]["phase"] in FINISHED:
            return
        if job is None or job["metadata"]["uid"] != owner(pod):
            current["its job is deleted and it lives on", metadata["uid"]] = GONE_WITHIN_S
            return
        status = job.get("status") or {}
        if int(metadata["labels"]["paceline.dev/attempt"]) < status.get("attempt", 0):
            current["its attempt is over and it lives on", metadata["uid"]] = GONE_WITHIN_S
        elif status.get("phase") == "Suspended" and job["spec"].get("suspend"):
            current["its job is suspended and it lives on", metadata["uid"]] = GONE_WITHIN_S
        elif status.get("phase") in FINISHED and job["spec"].get("cleanPodPolicy") != "None":
            current["its job is finished and it lives on", metadata["uid"]] = GONE_WITHIN_S

    def _job_moves(self, job: Body, current: Lasting) -> None:
        world, uid = self._world, job["metadata"]["uid"]
        status, spec, name = job.get("status") or {}, job["spec"], job["metadata"]["name"]
        phase, truth = status.get("phase", "Pending"), world.truth.jobs[uid]
        if phase in FINISHED:
            return
        if spec.get("suspend"):
            if phase != "Suspended":
                current[f"it is to be suspended and is {phase}", uid] = GONE_WITHIN_S
            return
        attempt = status.get("attempt", 0)
        # Of a pod that ended well the failure is none, and one that nobody can see yet is not answered.
        failed = any(
            (attempt, incident.index) not in truth.ended_well and self._shown(f"{name}-{attempt}-{incident.index}", uid)
            for incident in truth.incidents.get(attempt, ())
        )
        if failed and phase in ("Scheduling", "Starting", "Running"):
            current[f"attempt {attempt} has failed and nothing follows", uid] = GONE_WITHIN_S
        service = world.api.get("services", name)
        if phase in ("Scheduling", "Starting", "Running") and (service is None or owner(service) != uid):
            current[f"it is {phase} and has no Service", uid] = PROMPT_S
        self._together.look(job, current)
        limit = spec.get("activeDeadlineSeconds")
        if limit and status.get("startTime") and phase != "Suspended":
            active = world.time() - _seconds(status["startTime"]) - status.get("suspendedSeconds", 0)
            if active > limit + PROMPT_S:
                current["its deadline is over and it goes on", uid] = GONE_WITHIN_S

    def _forgets(self, process: Process, current: Lasting) -> None:
        """A job that is gone is forgotten: soon, where a list of others tells that a watch had ended."""
        jobs = self._world.truth.jobs
        for known in process.reconciler.remembered():
            gone = jobs[known.uid].deleted
            if gone is not None:
                others = any(other.created < gone and other.deleted is None for other in jobs.values())
                within = GONE_WITHIN_S if others else ROLL_CALL_S + GONE_WITHIN_S
                current[f"it is deleted, and operator {process.number} remembers it", known.uid] = within

    def _shown(self, name: str, job_uid: str) -> bool:
        pod = self._world.api.get("pods", name)
        if pod is None or owner(pod) != job_uid:
            return True
        return "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] == "Failed"

    def forgotten(self) -> None:
        """Check that nothing is remembered of what is no more. Raises BrokenError."""
        for process in self._world.operators():
            left = [job.uid for job in process.reconciler.remembered() if self._world.truth.jobs[job.uid].deleted]
            hold(not left, f"operator {process.number} remembers {left}, which are deleted")

    def tidy(self) -> None:
        """Check what is left when all jobs are over. Raises BrokenError."""
        world = self._world
        alive = {job["metadata"]["uid"]: job for job in world.api.objects["trainjobs"].values()}
        for kind in ("pods", "services", "podgroups"):
            for name, body in world.api.objects[kind].items():
                hold(owner(body) in alive, f"{kind} {name} of a deleted job is left")
        for name, pod in world.api.objects["pods"].items():
            job = alive[owner(pod)]
            policy, phase = job["spec"]["cleanPodPolicy"], pod["status"]["phase"]
            past = int(pod["metadata"]["labels"]["paceline.dev/attempt"]) < job["status"].get("attempt", 0)
            if policy == "Running" or (policy == "None" and past):
                hold(phase in FINISHED, f"pod {name} of a finished job is {phase}")
            elif policy == "All":
                raise BrokenError(f"pod {name} of a finished job is left, and cleanPodPolicy is All")
        self._together.tidy(alive)
        for name, job in world.api.objects["trainjobs"].items():
            if job["spec"]["cleanPodPolicy"] == "All" and world.api.get("services", name) is not None:
                raise BrokenError(f"service {name} of a finished job is left, and cleanPodPolicy is All")


def _final(status: Body) -> tuple[object, ...]:
    """What of a finished job never changes."""
    return status.get("phase"), status.get("completionTime"), status.get("attempt"), status.get("restarts")


def _seconds(stamp: str) -> float:
    return (datetime.fromisoformat(stamp.replace("Z", "+00:00")) - T0).total_seconds()
