"""What the simulator found in the operator, as small as it got: each of these broke an invariant once."""

from __future__ import annotations

import pytest

from tests.simulation.history import History
from tests.simulation.world import play

FINDS = {
    "a pod is collected with its node: what it told last is the cause, though nobody looked in time": (
        "world nodes=1; job a pods=1 at=7.1; at 10 down on=node-1 n=2 s=29"
    ),
    "an evicted pod, whose containers are not told of yet, counts once": (
        "world nodes=1; job b pods=1 preemptions=0; at 4 evict on=b"
    ),
    "a Service that somebody deleted is there again for the next attempt": (
        "world nodes=1; job a pods=2 ends=oom/0/2/1; at 2.5 unservice on=a"
    ),
    "a Service that somebody deleted is there again though the reply to the restart's record was lost": (
        "job a ends=fail/0/4/1; at 3 unservice on=a; write 6 lost"
    ),
    "a Service that somebody deleted while the job was suspended is there again": (
        "world nodes=1; job a pods=2; at 2 suspend on=a s=6; at 5 unservice on=a"
    ),
    "an operator that has never seen the Service of a finished job deletes it": (
        "world nodes=1; job a pods=1 clean=All; at 4 crash s=15"
    ),
    "pods that are not shown yet to the operator that takes over are not missing": (
        "world nodes=1 standby=yes; job a pods=1 runs=15; at 0 lag on=pods n=8 s=15; at 6.5 takeover"
    ),
    "what the record proved of a pod that is gone stays proven when another one succeeds": (
        "job a pods=3 runs=40 spread=38 restarts=0; at 25 unpod on=a n=2; write 8 crash"
    ),
    "a job that is suspended while it is created goes on under new names": (
        "world nodes=1 slots=3 lag=0.5; job a at=5.4; at 5.51 suspend on=a; write 1 error; write 6 later"
    ),
    "a PodGroup whose answer was lost goes, though its attempt was over before it was asked for again": (
        "world gang=yes; job a pods=2 ends=fail/0/2/1; at 3.62 outage s=5; at 4 suspend on=a s=20; write 10 lost"
    ),
    "a PodGroup goes though none were served when its job ended, once there are some again": (
        "world nodes=1 gang=yes standby=yes; job a runs=40 deadline=25 clean=All; at 16 gate n=2; at 28 gate"
    ),
    "a PodGroup goes that no operator could see since its start": (
        "world nodes=1 gang=yes; job a runs=40 deadline=25 clean=All; at 16 gate n=2; at 20 crash; at 58 gate"
    ),
    "an attempt gets the rest of its pods though its PodGroup is served no more to the operator that takes over": (
        "world gang=yes; job a pods=3; at 0.04 gate n=2; write 2 crash; at 100 gate"
    ),
    "pods that all came and went while no operator looked are made again within their attempt": (
        "world nodes=1 slots=2; job a runs=40; at 0.48 outage s=25; at 3 crash; at 12 drain on=node-1"
    ),
    "PodGroups are served to an operator that took over while the API server was away": (
        "world nodes=1 slots=4 gang=yes standby=yes; job b runs=40 ends=stall/0/2/1; at 3 outage s=25; at 5 takeover"
    ),
    "pods of a job that is gone are not made again and again while their names are taken": (
        "world nodes=1; job a pods=2; at 3 cut on=node-1 s=45; at 8 delete on=a s=1; at 15 unseen on=a"
    ),
    "a pod that came and went while pods could not be listed is missed with the next list": (
        "world slots=3 standby=yes; job a pods=1 at=8.5; at 1 outage s=25; at 28 unpod on=a"
    ),
    "pods of a stale list are not missing": "world nodes=1; job b pods=1; at 2 crash n=6",
}


@pytest.mark.parametrize("name", FINDS)
def test_what_was_found_once(name: str) -> None:
    assert play(History.parse(FINDS[name])).broken == ""
