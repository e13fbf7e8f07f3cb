"""Named histories without chance: each is played clean, and then with every one of its writes going wrong."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.history import History


@dataclass(frozen=True, slots=True)
class Scenario:
    """A history, and what its jobs come to. `ends` holds phase, restarts and preemptions by job."""

    text: str
    ends: dict[str, tuple[str, int, int]]
    small: bool = False
    """Also with two faults in a row."""

    @property
    def history(self) -> History:
        """The history."""
        return History.parse(self.text)


DONE = ("Succeeded", 0, 0)
AGAIN = ("Succeeded", 1, 0)
TAKEN = ("Succeeded", 0, 1)
SCENARIOS = {
    "plain success": Scenario("job a pods=2", {"a": DONE}, small=True),
    "one worker": Scenario("job a pods=1", {"a": DONE}, small=True),
    "two workers in each pod": Scenario("job a pods=2 per_pod=2", {"a": DONE}),
    "one failure": Scenario("job a pods=2 ends=fail/1/2/1", {"a": AGAIN}, small=True),
    "a failure at start, before the others run": Scenario("job a pods=2 ends=fail/0/-0.1/1", {"a": AGAIN}),
    "out of memory": Scenario("job a pods=2 ends=oom/1/2/1", {"a": AGAIN}),
    "the agent itself is killed for memory": Scenario("job a pods=2 ends=kill/0/2/1", {"a": AGAIN}),
    "a stall": Scenario("job a pods=2 ends=stall/1/2/1", {"a": AGAIN}),
    "evicted": Scenario("job a pods=2; at 3 evict on=a n=1", {"a": TAKEN}),
    "preempted": Scenario("world slots=2; job a pods=2; at 3 preempt on=node-1 n=2 s=5", {"a": TAKEN}),
    "drained": Scenario("job a pods=2; at 3 drain on=node-1 s=5", {"a": TAKEN}),
    "node lost": Scenario("world slots=1; job a pods=2 runs=40; at 8 down on=node-1 s=90", {"a": TAKEN}),
    "node cut off": Scenario("job a pods=2 runs=40; at 8 cut on=node-1 s=90", {"a": TAKEN}),
    "node lost under a single worker": Scenario("world nodes=1; job a pods=1 runs=80; at 3 down s=70", {"a": TAKEN}),
    "node collected": Scenario("job a pods=2 runs=40; at 8 down on=node-1 n=2 s=90", {"a": TAKEN}),
    "a pod is deleted": Scenario("job a pods=2; at 3 unpod on=a n=1", {"a": AGAIN}, small=True),
    "a pod is deleted by force": Scenario("job a pods=2; at 3 force on=a n=1", {"a": AGAIN}),
    "a pod that ended well is deleted before the others end": Scenario(
        "job a pods=3 runs=40 spread=38; at 25 unpod on=a n=2", {"a": DONE}
    ),
    "suspend and resume": Scenario("job a pods=2; at 3 suspend on=a s=10", {"a": DONE}, small=True),
    "created suspended": Scenario("job a pods=2 suspended=yes; at 5 resume on=a", {"a": DONE}),
    "suspended before it starts": Scenario("job a pods=2; at 0.03 suspend on=a s=3", {"a": DONE}),
    "suspended in a backoff": Scenario(
        "job a pods=1 initial=8 ends=fail/0/1/1+fail/0/1/1; at 6 suspend on=a s=3", {"a": ("Succeeded", 2, 0)}
    ),
    "deadline": Scenario("job a pods=2 deadline=4 ends=hang", {"a": ("Failed", 0, 0)}, small=True),
    "deadline and suspension": Scenario("job a pods=1 runs=8 deadline=18; at 3 suspend on=a s=20", {"a": DONE}),
    "time to live": Scenario("job a pods=1 ttl=5", {}, small=True),
    "all pods cleaned up": Scenario("job a pods=2 clean=All", {"a": DONE}),
    "no pod cleaned up": Scenario("job a pods=2 clean=None ends=fail/0/2/1", {"a": AGAIN}),
    "deleted while it is created": Scenario("job a pods=3; at 0.02 delete on=a", {}, small=True),
    "deleted while it runs": Scenario("job a pods=2; at 3 delete on=a", {}),
    "made anew under the same name": Scenario("job a pods=2; at 3 delete on=a s=0.1", {"a": DONE}, small=True),
    "made anew while it is created": Scenario("job a pods=2; at 0.02 delete on=a s=0.01", {"a": DONE}),
    "deleted while nobody watches": Scenario("job a pods=2; job b pods=1; at 12 unseen on=a", {"b": DONE}),
    "deleted while nobody watches, the only one": Scenario("job a pods=1 clean=All; at 12 unseen on=a", {}),
    "deleted while nobody watches, and while its names are taken": Scenario(
        "world nodes=1; job a pods=2; at 3 cut on=node-1 s=45; at 8 delete on=a s=1; at 15 unseen on=a", {}
    ),
    "backoff": Scenario(
        "job a pods=1 initial=2 ends=fail/0/0.5/1+fail/0/0.5/1+fail/0/0.5/1", {"a": ("Succeeded", 3, 0)}
    ),
    "restarts spent": Scenario("job a pods=2 restarts=1 ends=fail/0/1/1+fail/1/1/1", {"a": ("Failed", 1, 0)}),
    "no restart allowed": Scenario("job a pods=2 restarts=0 ends=fail/0/1/1", {"a": ("Failed", 0, 0)}, small=True),
    "preemptions spent": Scenario("job a pods=1 preemptions=0; at 3 evict on=a", {"a": ("Failed", 0, 0)}),
    "a rule ends the job": Scenario("job a pods=2 rule=Fail:3 ends=fail/1/1/3", {"a": ("Failed", 0, 0)}),
    "a rule that does not count": Scenario("job a pods=2 rule=RestartUncounted:OOMKilled ends=oom/1/1/1", {"a": DONE}),
    "storage refuses": Scenario("job a pods=2 ends=store/0/1/1", {"a": ("Failed", 0, 0)}),
    "the API server finds the pods invalid": Scenario("job a pods=2 invalid=yes", {"a": ("Failed", 0, 0)}, small=True),
    "quota": Scenario("job a pods=2; at 0 quota s=12", {"a": DONE}),
    "quota in the middle of a restart": Scenario("job a pods=2 ends=fail/0/1/1; at 3 quota s=12", {"a": AGAIN}),
    "an image that cannot be pulled at first": Scenario("job a pods=2; at 0 image on=a s=20", {"a": DONE}),
    "two jobs for one node": Scenario(
        "world nodes=1 slots=2 gang=yes; job a pods=2; job b pods=2", {"a": DONE, "b": DONE}
    ),
    "a PodGroup for each attempt": Scenario("world gang=yes; job a pods=3 ends=fail/0/2/1", {"a": AGAIN}),
    "PodGroups that the scheduler ignores": Scenario(
        "world gang=ignored nodes=1 slots=3; job a pods=2 timeout=6; job b pods=2 timeout=6", {"a": DONE, "b": DONE}
    ),
    "two jobs that hold what the other needs": Scenario(
        "world nodes=1 slots=3; job a pods=3 timeout=5 runs=10; job b pods=3 timeout=5 runs=10", {"a": DONE, "b": DONE}
    ),
    "a set that is placed in part is freed, uncounted": Scenario(
        "world nodes=1 slots=2 ; job a pods=2 restarts=0 preemptions=0 timeout=4; at 0 preempt on=node-1 n=1 s=20",
        {"a": DONE},
    ),
    "a pod that never starts": Scenario("job a pods=2 start=8 ends=stuck/1/0/1", {"a": AGAIN}),
    "PodGroups are insisted on and served later": Scenario("job a pods=2 gang=PodGroup; at 20 gate", {"a": DONE}),
    "PodGroups are served no more": Scenario(
        "world gang=yes; job a pods=2 ends=fail/0/4/1; at 3 gate n=2", {"a": AGAIN}
    ),
    "PodGroups are served no more for a while, in which an attempt ends": Scenario(
        "world gang=yes; job a pods=2 runs=90 clean=All ends=fail/0/4/1; at 3 gate n=2 s=30", {"a": AGAIN}
    ),
    "two jobs, one of them failing": Scenario("job a pods=2 ends=fail/0/1/1; job b pods=1", {"a": AGAIN, "b": DONE}),
    "the Service is deleted": Scenario("job a pods=2 ends=fail/0/4/1; at 3 unservice on=a", {"a": AGAIN}),
    "the Service is deleted while the pods start": Scenario("job a pods=2; at 0.3 unservice on=a", {"a": DONE}),
    "the Service is deleted again and again": Scenario(
        "job a pods=2 runs=15; at 3 unservice on=a; at 3.5 unservice on=a; at 4 unservice on=a", {"a": DONE}
    ),
    "a standby takes over": Scenario(
        "world standby=yes; job a pods=2 ends=fail/0/2/1; at 3.6 takeover n=2", {"a": AGAIN}
    ),
    "the lead reports": Scenario("job a pods=2 reports=yes runs=15 ends=fail/1/8/1", {"a": AGAIN}),
}  # fmt: skip
