"""Fifty jobs a second come, run, end and are deleted: does the operator keep up, where a bare script does?

Few cores may not carry that many writes at all. So the script goes first: it makes pods at the rate, and fake nodes run
and end them. Where it falls behind, or the operator does, the next lower rate is tried; all of them are told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.apiclient import ApiClient
from benchmarks.audit import Request
from benchmarks.bench import BARE, Bench, Running, is_new_pod, named
from benchmarks.hand import JOBS, PODS, USER_AGENT, trainjob
from benchmarks.numbers import metric
from benchmarks.scale.beside import sampled
from benchmarks.scale.cpu import CpuMeter
from benchmarks.scale.pace import Pace, at_rate, paced
from benchmarks.scale.size import Size

RATES = (50, 35, 25, 18, 12, 8)
SECONDS = 30
TTL_S = 5
QUEUE_S = 0.25  # between two looks at its length
# All jobs of a rate must be gone in this time, or they count as lost.
DRAIN_S = 240
END = "bed.paceline.dev/exit-code"


def measure(bench: Bench, size: Size) -> dict[str, Any]:
    """Return a row for each rate that was tried: of the script, and of the operator where the script kept up."""
    node = bench.bed.fake_node_names[0]
    bench.silent_kubelets()
    body = bench.template(node)
    body["metadata"]["annotations"] = {END: "0"}
    seconds = size.of(SECONDS)
    rows = []
    for rate in RATES:
        row: dict[str, Any] = {"rate": rate, "seconds": seconds, "bare": _bare(bench, rate, seconds, body)}
        rows.append(row)
        print(f"{rate} pods/s by the script: {_told(row['bare'])}", flush=True)
        if not row["bare"]["kept_up"]:
            continue
        row["operator"] = _operator(bench, rate, seconds)
        print(f"{rate} jobs/s by the operator: {_told(row['operator'])}", flush=True)
        if row["operator"]["kept_up"]:
            break
    return {"rows": rows}


def render(figures: Mapping[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    lines = [
        "| jobs of one pod a second | side | keeps up | lag p50 / p99 | behind at the end | longest queue | jobs lost "
        "| its CPU for a job | cores busy: API server and etcd, controller manager, fake nodes, operator, script |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        lines += [_line(row["rate"], side, row[side]) for side in ("bare", "operator") if side in row]
    return lines


def _line(rate: float, side: str, found: Mapping[str, Any]) -> str:
    cores = found["cores"]
    busy = (
        cores.get("API server", 0.0) + cores.get("etcd", 0.0),
        *(cores.get(name, 0.0) for name in ("controller manager", "fake nodes", "operator", "script")),
    )
    ours = side == "operator"
    return (
        f"| {rate} | {'operator' if ours else 'bare script'} | {'yes' if found['kept_up'] else 'no'} "
        f"| {_seconds(found['p50_s'])} / {_seconds(found['p99_s'])} | {found['behind_s']:.1f} s "
        f"| {found['longest_queue'] if ours else '-'} | {found['lost'] if ours else '-'} "
        f"| {found['cpu_ms_a_job']:.1f} ms | {', '.join(f'{value:.2f}' for value in busy)} |"
    )


def _bare(bench: Bench, rate: float, seconds: int, body: dict[str, Any]) -> dict[str, Any]:
    async def run() -> dict[str, float]:
        async with ApiClient(bench.bed.kubeconfig, BARE) as client:

            async def pod(number: int) -> None:
                name = f"bare-{number}"
                await client.send("POST", PODS, named(body, f"{name}-0-0", name))
                await asyncio.sleep(TTL_S)
                await client.send("DELETE", f"{PODS}/{name}-0-0?gracePeriodSeconds=0")

            due = await at_rate(rate, int(rate * seconds), pod)
        return {f"bare-{number}-0-0": at for number, at in enumerate(due)}

    bench.audit.new()
    meter = CpuMeter(bench.bed)
    before = time.process_time()
    asked = asyncio.run(run())
    cpu_s, cores = time.process_time() - before, meter.cores()
    done = {r.name: r.finished for r in bench.audit.new() if is_new_pod(r) and r.user_agent == BARE}
    bench.clean(len(asked))
    pace = paced(asked, done, seconds)
    return {**pace.figures(), "cpu_ms_a_job": 1e3 * cpu_s / pace.asked, "cores": cores}


def _operator(bench: Bench, rate: float, seconds: int) -> dict[str, Any]:
    count = int(rate * seconds)
    nodes = bench.bed.fake_node_names

    async def run() -> None:
        async with bench.hand.client() as client:

            async def job(number: int) -> None:
                made = trainjob(f"job-{number}", 1, node=nodes[number % len(nodes)], ttlSecondsAfterFinished=TTL_S)
                made["spec"]["podTemplate"]["metadata"] = {"annotations": {END: "0"}}
                await client.send("POST", JOBS, made)

            await at_rate(rate, count, job)

    with bench.running_operator() as running:
        bench.audit.new()
        meter = CpuMeter(bench.bed, running.process)
        before = running.cpu_s
        with sampled(lambda: _queue(running), QUEUE_S) as depths:
            asyncio.run(run())
            cores = meter.cores()
            seen = _until_gone(bench, count)
        cpu_s = running.cpu_s - before
    pace = _pace(seen, seconds)
    gone = {r.name for r in seen if r.resource == "trainjobs" and r.verb == "delete" and r.code < 300}
    bench.clean(count)
    return {
        **pace.figures(),
        "longest_queue": int(max(depths, default=0)),
        "lost": count - len(gone),
        "cpu_ms_a_job": 1e3 * cpu_s / count,
        "cores": cores,
    }


def _pace(seen: list[Request], seconds: int) -> Pace:
    """From the job known to its pod made. The script's own way to the API server is in neither side's figures."""
    asked = {
        r.name: r.finished
        for r in seen
        if r.resource == "trainjobs" and r.verb == "create" and r.code == 201 and r.user_agent == USER_AGENT
    }
    done = {r.name.rsplit("-", 2)[0]: r.finished for r in seen if is_new_pod(r)}
    return paced(asked, done, seconds)


def _until_gone(bench: Bench, count: int) -> list[Request]:
    """Wait until so many jobs were deleted by their TTL, within bounds; return what was seen till then."""
    seen: list[Request] = []
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        seen += bench.audit.new()
        if sum(r.resource == "trainjobs" and r.verb == "delete" and r.code < 300 for r in seen) >= count:
            break
        time.sleep(1.0)
    return seen


def _queue(running: Running) -> float:
    return metric(running.operator.page("/metrics"), "paceline_queue_depth")


def _told(found: Mapping[str, Any]) -> str:
    kept = "keeps up" if found["kept_up"] else "falls behind"
    return f"{kept}, lag p99 {_seconds(found['p99_s'])}, {found['behind_s']:.1f} s behind at the end"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
