"""Jobs come and go for twenty minutes: does the operator's memory stay where it is?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.bench import Bench, Running
from benchmarks.hand import JOBS, trainjob
from benchmarks.numbers import metric, second_half, slope
from benchmarks.scale.beside import sampled
from benchmarks.scale.churn import END
from benchmarks.scale.pace import at_rate
from benchmarks.scale.size import Size

JOBS_PER_S = 2.0
WORKERS = 2
RUN_FOR = "bed.paceline.dev/run-for"
RUN_S = 5
TTL_S = 5
SAMPLE_S = 5.0
# One job in so many fails, is restarted once and fails for good.
FAILING = 10
AIM_MB_PER_H = 10.0


def measure(bench: Bench, size: Size) -> dict[str, Any]:
    """Return memory, CPU and what is known of jobs over time."""
    bench.silent_kubelets()
    count = int(JOBS_PER_S * 60 * size.minutes)
    with bench.running_operator() as running, sampled(_sample(running), SAMPLE_S) as samples:
        asyncio.run(_come_and_go(bench, count))
        # What is left must be forgotten too.
        time.sleep(RUN_S + TTL_S + 3 * SAMPLE_S)
        page = running.operator.page("/metrics")
    rss = [(sample["s"], sample["rss_mb"]) for sample in samples]
    half = second_half(rss)
    steady = [sample for sample in samples if sample["s"] >= half[0][0]]
    return {
        "minutes": size.minutes,
        "jobs": count,
        "jobs_per_s": JOBS_PER_S,
        "workers": WORKERS,
        "first_rss_mb": rss[0][1],
        "last_rss_mb": rss[-1][1],
        "most_rss_mb": max(value for _, value in rss),
        "slope_mb_per_h": slope([(s / 3600, value) for s, value in half]),
        "cpu": sum(sample["cpu"] for sample in steady) / len(steady),
        "pods_created": metric(page, "paceline_pods_created_total"),
        "pods_known_at_end": metric(page, "paceline_pods_known"),
        "jobs_known_at_end": metric(page, "paceline_jobs"),
        "samples": samples,
    }


def render(figures: Mapping[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    return [
        f"{figures['minutes']:g} minutes of {figures['jobs_per_s']:g} jobs/s ({figures['jobs']:,} jobs, "
        f"{figures['pods_created']:,.0f} pods): memory {figures['first_rss_mb']:.0f} MB at the start, "
        f"{figures['last_rss_mb']:.0f} MB at the end, {figures['most_rss_mb']:.0f} MB at most; over the second half it "
        f"grows by {figures['slope_mb_per_h']:+.1f} MB an hour (aim: < {AIM_MB_PER_H:.0f}). CPU "
        f"{figures['cpu']:.1%} of a core. Known at the end: {figures['jobs_known_at_end']:.0f} jobs, "
        f"{figures['pods_known_at_end']:.0f} pods.",
    ]


async def _come_and_go(bench: Bench, count: int) -> None:
    nodes = bench.bed.fake_node_names
    began = time.monotonic()
    async with bench.hand.client() as client:

        async def job(number: int) -> None:
            code = "1" if number % FAILING == 0 else "0"
            made = trainjob(
                f"job-{number}", WORKERS, node=nodes[number % len(nodes)], ttlSecondsAfterFinished=TTL_S,
                failurePolicy={"maxRestarts": 1, "backoffSeconds": {"initial": 1}},
            )  # fmt: skip
            made["spec"]["podTemplate"]["metadata"] = {"annotations": {END: code, RUN_FOR: f"{RUN_S}s"}}
            await client.send("POST", JOBS, made)
            if number and number % int(JOBS_PER_S * 60) == 0:
                print(f"{number} of {count} jobs made after {(time.monotonic() - began) / 60:.1f} min", flush=True)

        await at_rate(JOBS_PER_S, count, job)


def _sample(running: Running) -> Callable[[], dict[str, float]]:
    """Return what takes a sample; the CPU is that since the one before."""
    began = at = time.monotonic()
    cpu_s = running.cpu_s

    def look() -> dict[str, float]:
        nonlocal cpu_s, at
        page, used, now = running.operator.page("/metrics"), running.cpu_s, time.monotonic()
        sample = {
            "s": round(now - began, 1),
            "rss_mb": round(running.rss_mb, 2),
            "cpu": round((used - cpu_s) / (now - at), 4),
            "jobs": metric(page, "paceline_jobs"),
            "pods": metric(page, "paceline_pods_known"),
        }
        cpu_s, at = used, now
        return sample

    return look
