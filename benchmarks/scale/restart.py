"""The operator dies while 10,000 pods are there, and a pod fails before it is back: how soon is that mended?"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, is_new_pod
from benchmarks.hand import SETTLE_S
from benchmarks.numbers import metric
from benchmarks.scale.size import Size

JOBS = 1000
WORKERS = 10
ROUNDS = 3
AIM_S = 10.0
# In its container a process that is started again has the name of the one that died, so that the Lease is its own.
# Here it has another: without election it has nothing to wait for either.
CONFIG: dict[str, Any] = {"leaderElection": {"enabled": False}}


def measure(bench: Bench, size: Size) -> dict[str, Any]:
    """Return the seconds from the new process to its first answer, to readiness, and to the new pods of the group."""
    bench.still_kubelets()
    jobs = size.of(JOBS)
    with bench.running_operator(**CONFIG) as running:
        bench.fill(running, jobs, WORKERS)
        rss_mb = running.rss_mb
        running.operator.kill()
    print(f"{jobs} jobs x {WORKERS} pods run, the operator took {rss_mb:.0f} MB and is killed", flush=True)
    rounds = []
    for number in range(ROUNDS):
        rounds.append(_start(bench, f"job-{number}-0-3"))
        print(f"round {number + 1}: " + ", ".join(f"{k} {v:.1f}" for k, v in rounds[-1].items()), flush=True)
    return {
        "jobs": jobs,
        "pods": jobs * WORKERS,
        "rounds": ROUNDS,
        "rss_mb": rss_mb,
        **{key: statistics.median(r[key] for r in rounds) for key in rounds[0]},
        "worst_acted_s": max(r["acted_s"] for r in rounds),
    }


def render(figures: Mapping[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    return [
        f"{figures['pods']:,} pods of {figures['jobs']:,} jobs run, the operator is killed, a pod fails, and the "
        f"operator is started: ready after {figures['ready_s']:.1f} s, the failed pod's group is made anew after "
        f"{figures['acted_s']:.1f} s (aim: <= {AIM_S:.0f} s), all jobs looked at after {figures['calm_s']:.1f} s. It "
        f"used {figures['cpu_s']:.1f} s of CPU for that, and takes {figures['rss_mb']:.0f} MB.",
    ]


def _start(bench: Bench, pod: str) -> dict[str, float]:
    asyncio.run(bench.hand.fail(pod))
    bench.audit.new()
    began = time.time()
    with bench.running_operator(**CONFIG) as running:
        ready_s = time.time() - began
        seen = bench.await_pods(WORKERS)
        calm_s = _calm(running.operator.page, began)
        cpu_s = running.cpu_s
        running.operator.kill()
    acted = max(r.finished for r in seen if is_new_pod(r))
    return {"ready_s": ready_s, "acted_s": acted - began, "calm_s": calm_s, "cpu_s": cpu_s}


def _calm(page: Any, began: float) -> float:
    """Return the seconds after which no job waits for a look."""
    deadline = time.monotonic() + SETTLE_S
    calm_since: float | None = None
    while time.monotonic() < deadline:
        depth = metric(page("/metrics"), "paceline_queue_depth")
        calm_since = (calm_since or time.time()) if depth == 0 else None
        if calm_since is not None and time.time() - calm_since > 1.0:
            return calm_since - began
        time.sleep(0.1)
    raise TimeoutError(f"jobs still wait for a look {SETTLE_S:.0f} s after the start")
