"""What must hold of pods that get their nodes together: how long a part of them holds some, and of their PodGroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.api import reasons
from tests.simulation.api import Body, group_of, owner
from tests.simulation.bounds import GONE_WITHIN_S, PROMPT_S, SERVED_WITHIN_S, Lasting, hold

if TYPE_CHECKING:
    from tests.simulation.machines import Worker
    from tests.simulation.truth import JobTruth
    from tests.simulation.world import World


class Together:
    """Over one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def created(self, pod: Body) -> None:
        """A job that insists on PodGroups gets no pod without, and a pod never comes before its PodGroup."""
        name, group = pod["metadata"]["name"], group_of(pod)
        plan = self._world.truth.jobs[owner(pod)].plan
        hold(bool(group) or plan.gang != "PodGroup" or plan.pods == 1, f"{name} insists on a PodGroup and has none")
        wanted = plan.gang in ("Auto", "PodGroup") and plan.pods > 1
        hold(not group or wanted, f"{name} has a PodGroup for no reason")
        there = self._world.api.get("podgroups", group)
        ours = there is not None and owner(there) == owner(pod)
        hold(not group or ours or self._world.excused, f"{name} was created before its PodGroup")

    def premature(self, truth: JobTruth, record: Body) -> str:
        """Return what speaks against a record that a set was freed, or that pods did not start in time."""
        world, freed = self._world, record["cause"] == reasons.UNSCHEDULABLE
        group = world.kubelets.groups.get((truth.uid, record["attempt"]))
        members = group.members if group else {}
        placed = [worker.placed_at for worker in members.values() if worker.placed_at is not None]
        if not placed:
            return "no pod has a node"
        limit, since = (truth.plan.timeout, min(placed)) if freed else (truth.plan.start, max(placed))
        # Kubernetes tells times in whole seconds, rounded down.
        if world.time() - since < limit - 1.5:
            return f"{world.time() - since:.1f} s of {limit} s have passed"
        if not freed and len(placed) < truth.plan.pods:
            return f"{len(placed)} of {truth.plan.pods} pods have nodes"
        worker = members.get(record["rank"] // truth.plan.per_pod)
        done = (worker.placed_at if freed else worker.ran_at) if worker else None
        if done is not None and world.time() - done > PROMPT_S and not world.excused:
            return f"that one was there {world.time() - done:.1f} s before"
        return ""

    def look(self, job: Body, current: Lasting) -> None:
        """Nodes are held for as long as is allowed, by pods that wait for others or that do not start."""
        world, uid = self._world, job["metadata"]["uid"]
        plan, status = world.truth.jobs[uid].plan, job.get("status") or {}
        attempt = status.get("attempt", 0)
        group = world.kubelets.groups.get((uid, attempt))
        members = [worker for worker in (group.members.values() if group else ()) if self._there(worker)]
        placed = [worker for worker in members if worker.placed_at is not None]
        if 0 < len(placed) < plan.pods and plan.gang != "None":
            current[f"attempt {attempt} holds nodes for a part of its pods", uid] = plan.timeout + PROMPT_S
        if len(placed) == plan.pods and any(worker.state == "bound" for worker in placed):
            current[f"attempt {attempt} has all nodes and does not start", uid] = plan.start + PROMPT_S
        insists = plan.gang == "PodGroup" and plan.pods > 1
        if not insists or members or status.get("phase", "Pending") not in ("Pending", "Scheduling"):
            return
        if "podgroups" not in world.api.unserved:
            current["it insists on PodGroups, which there are, and has no pods", uid] = SERVED_WITHIN_S
            return
        told = [found["reason"] for found in status.get("conditions") or () if found["type"] == "Scheduled"]
        if told != [reasons.GANG_UNAVAILABLE]:
            current["it insists on PodGroups and does not tell that there are none", uid] = GONE_WITHIN_S

    def _there(self, worker: Worker) -> bool:
        pod = self._world.api.get("pods", worker.name)
        if pod is None or pod["metadata"]["uid"] != worker.uid:
            return False
        return "deletionTimestamp" not in pod["metadata"]

    def groups(self, current: Lasting) -> None:
        """PodGroups of attempts that are over go."""
        world = self._world
        for group in world.api.objects["podgroups"].values():
            metadata = group["metadata"]
            job = world.job(metadata["labels"]["paceline.dev/job"])
            if job is None or job["metadata"]["uid"] != owner(group) or "deletionTimestamp" in metadata:
                continue
            attempt = (job.get("status") or {}).get("attempt", 0)
            if int(metadata["labels"]["paceline.dev/attempt"]) < attempt and "podgroups" not in world.api.unserved:
                within = SERVED_WITHIN_S if world.served_again else GONE_WITHIN_S
                current["its attempt is over and the PodGroup stays", metadata["uid"]] = within

    def tidy(self, jobs: dict[str, Body]) -> None:
        """Of finished jobs the PodGroup of the last attempt stays, with the pods that stay. Raises BrokenError."""
        if "podgroups" in self._world.api.unserved:
            return
        for name, group in self._world.api.objects["podgroups"].items():
            if "deletionTimestamp" not in group["metadata"]:
                job = jobs[owner(group)]
                last = int(group["metadata"]["labels"]["paceline.dev/attempt"]) == job["status"].get("attempt", 0)
                kept = job["spec"]["cleanPodPolicy"] != "All"
                hold(last and kept, f"podgroup {name} of a finished job is left")


def account_of(rule: str, cause: str) -> str:
    """Return what a restart counts as."""
    action, _, matched = rule.partition(":")
    if matched == cause and action.startswith("Restart"):
        return "restart" if action == "Restart" else "uncounted"
    if cause in reasons.UNCOUNTED:
        return "uncounted"
    return "preemption" if cause in reasons.PREEMPTIONS else "restart"
