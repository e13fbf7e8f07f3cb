"""A history out of a seed: jobs that fail in all ways, and faults at the worst times that chance finds."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.history import End, Fault, History, JobPlan, WriteFault

NAMES = ("a", "b", "c")
ENDS = ("fail", "fail", "fail", "oom", "kill", "stall", "stuck", "store", "config")
WRITE_KINDS = ("crash", "crash", "lost", "lost", "error", "gateway", "conflict", "throttle", "later", "refused")
USERS = ("suspend", "suspend", "delete", "unseen", "edit", "deadline", "touch", "unpod", "unpod", "force", "unservice")
MACHINES = ("evict", "evict", "preempt", "drain", "down", "down", "cut", "cut", "image")
SERVERS = (
    "arm", "arm", "quota", "slow", "outage", "lag", "lag", "broken", "expired", "again", "crash", "crash", "takeover",
    "gate",
)  # fmt: skip
WATCHED = ("pods", "pods", "trainjobs", "services")
BUSY_S = 30.0
"""Within which faults begin."""


def generate(seed: int) -> History:
    """Return the history of a seed."""
    chance = random.Random(seed)
    jobs = tuple(_job(chance, name) for name in NAMES[: chance.choice((1, 1, 1, 2, 2, 3))])
    slots = sum(job.pods * job.per_pod for job in jobs)
    largest = max(job.pods * job.per_pod for job in jobs)
    nodes = chance.choice((1, 2, 2, 3))
    gang = chance.choice(("", "", "", "yes", "yes", "ignored"))
    short = chance.random() < (0.8 if gang else 0.2)
    jobs = tuple(_placed(chance, job, short=short and len(jobs) > 1) for job in jobs)
    room = max(largest + largest % nodes, chance.randint(largest, slots)) if short else slots
    per_node = max(-(-room // nodes), *(job.per_pod for job in jobs))
    if nodes > 1:
        per_node += max(job.per_pod for job in jobs) - 1
    groups = chance.choice(((), USERS, MACHINES, SERVERS, USERS + MACHINES, SERVERS, USERS + MACHINES + SERVERS))
    faults = tuple(
        sorted(
            (_fault(chance, chance.choice(groups), jobs, nodes) for _ in range(chance.randint(1, 6) if groups else 0)),
            key=lambda fault: fault.at,
        )
    )
    if any(job.gang == "PodGroup" for job in jobs):
        # A cluster that serves none, or no more, is mended: a job that insists waits for that.
        mended = Fault(round(chance.uniform(0.0, 2 * BUSY_S), 1), "gate")
        faults = tuple(sorted((*(f for f in faults if f.kind != "gate"), mended), key=lambda fault: fault.at))
    writes: tuple[WriteFault, ...] = ()
    if chance.random() < 0.4:
        numbers = sorted(chance.sample(range(1, 50), chance.randint(1, 3)))
        writes = tuple(WriteFault(number, chance.choice(WRITE_KINDS)) for number in numbers)
    return History(
        seed=seed, nodes=nodes, slots=per_node, gang=gang, standby=chance.random() < 0.3,
        lag=chance.choice((0.02, 0.1, 0.5)),
        skew=chance.choice((0.0, 0.0, 3.0)), jobs=jobs, faults=faults, writes=writes,
    )  # fmt: skip


def _job(chance: random.Random, name: str) -> JobPlan:
    pods = chance.choice((1, 2, 2, 3, 4))
    ends = tuple(_end(chance, pods) for _ in range(chance.choice((0, 1, 1, 1, 2, 3))))
    deadline = chance.choice((0, 0, 0, 0, 8, 25))
    if chance.random() < 0.05:
        deadline, ends = 20, (*ends, End("hang"))
    # What hangs, or never starts, and is not cleaned up holds its slots for ever, as asked.
    hangs = any(end.kind == "hang" for end in ends)
    stuck = any(end.kind == "stuck" for end in ends)
    return JobPlan(
        name,
        pods=pods,
        per_pod=chance.choice((1, 1, 1, 2)),
        at=round(chance.choice((0.0, chance.uniform(0.0, 10.0))), 1),
        runs=chance.choice((2.0, 8.0, 20.0, 40.0)),
        spread=chance.choice((0.2, 0.2, 6.0)),
        restarts=chance.choice((0, 1, 2, 3, 3, -1)),
        preemptions=chance.choice((-1, -1, -1, 0, 1)),
        initial=chance.choice((0, 1, 1, 4)),
        max=8,
        deadline=deadline,
        ttl=chance.choice((-1, -1, -1, 0, 5)),
        clean=chance.choice(("Running", "Running", "All", "Running" if hangs or stuck else "None")),
        rule=chance.choice(("",) * 9 + ("Fail:3", "RestartUncounted:OOMKilled", "Restart:PodEvicted")),
        reports=chance.random() < 0.25,
        invalid=chance.random() < 0.02,
        start=chance.choice((8, 20)) if stuck or chance.random() < 0.2 else 1800,
        ends=ends,
    )


def _placed(chance: random.Random, job: JobPlan, *, short: bool) -> JobPlan:
    """Say how the pods get their nodes together. Where there is too little room for all, none keeps a part for ever."""
    gang = chance.choice(("Auto",) * 7 + ("PodGroup", "Timeout", "Timeout" if short else "None"))
    timeout = chance.choice((3, 6, 12)) if short or chance.random() < 0.2 else 600
    return replace(job, gang=gang, timeout=timeout)


def _end(chance: random.Random, pods: int) -> End:
    kind = chance.choice(ENDS)
    after = chance.choice((chance.uniform(0.0, 8.0), chance.uniform(0.0, 8.0), -chance.uniform(0.1, 3.0)))
    return End(kind, chance.randrange(pods), round(after, 1), chance.choice((1, 1, 2, 3)))


def _fault(chance: random.Random, kind: str, jobs: tuple[JobPlan, ...], nodes: int) -> Fault:
    at = round(chance.uniform(0.0, BUSY_S), 2)
    if chance.random() < 0.3:
        at = round(chance.uniform(0.0, 3.0), 2)
    job, index = chance.choice(jobs).name, chance.randrange(4)
    node = f"node-{chance.randint(1, nodes)}"
    match kind:
        case "suspend":
            return Fault(at, kind, job, s=round(chance.choice((0.1, 1.0, 6.0, 20.0)), 1))
        case "delete" | "unseen":
            return Fault(at, kind, job, s=chance.choice((0.0, 0.05, 1.0, 5.0)))
        case "deadline":
            return Fault(at, kind, job, n=chance.choice((1, 10, 40)))
        case "edit":
            return Fault(at, kind, job, n=chance.choice((1, 3)))
        case "unpod" | "force" | "evict":
            return Fault(at, kind, job, n=index)
        case "image":
            return Fault(at, kind, job, s=chance.choice((3.0, 20.0)))
        case "preempt":
            return Fault(at, kind, node, n=chance.choice((1, 2, 4)), s=chance.choice((1.0, 10.0)))
        case "drain":
            return Fault(at, kind, node, s=chance.choice((1.0, 10.0)))
        case "down" | "cut":
            return Fault(at, kind, node, n=chance.choice((1, 1, 2)), s=chance.choice((5.0, 30.0, 58.0, 90.0)))
        case "arm":
            return Fault(
                at, kind, chance.choice(WRITE_KINDS), n=chance.choice((1, 1, 2, 6)), s=chance.choice((0.0, 3.0))
            )
        case "lag":
            return Fault(at, kind, chance.choice(WATCHED), n=chance.choice((1, 3, 8)), s=chance.choice((3.0, 15.0)))
        case "broken" | "expired":
            return Fault(at, kind, chance.choice(WATCHED))
        case "again":
            return Fault(at, kind, chance.choice(WATCHED), n=chance.choice((1, 5, 20)))
        case "gate":
            n = chance.choice((1, 2, 2))
            return Fault(at, kind, n=n, s=chance.choice((0.0, 10.0, 30.0)) if n == 2 else 0.0)
        case "quota" | "outage":
            return Fault(at, kind, s=chance.choice((1.0, 7.0, 25.0)))
        case "slow":
            return Fault(at, kind, n=chance.choice((1, 3)), s=chance.choice((3.0, 15.0)))
        case "crash":
            return Fault(at, kind, n=chance.choice((1, 1, 2, 6)), s=chance.choice((0.1, 2.0, 15.0)))
        case "takeover":
            return Fault(at, kind, n=chance.choice((1, 2, 5)), s=chance.choice((0.5, 5.0)))
        case _:
            return Fault(at, kind, job)
