"""5,000 pods in one job, and 1,000 pods of which one fails, beside a script that makes as many pods."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench
from benchmarks.scale.size import Size

PODS = 5000
RESTARTED_PODS = 1000
ROUNDS = 3
AIM_RATIO = 0.8
AIM_RESTART = 1.3


def measure(bench: Bench, size: Size) -> dict[str, Any]:
    """Return both figures. All pods name a node: the scheduler is slower than both sides, and is left out."""
    nodes = bench.bed.fake_node_names
    bench.still_kubelets()
    body = bench.template(nodes[0])
    pods = size.of(PODS)
    bare = bench.bare(1, pods, body)
    print(f"bare script: {pods} pods in {bare.seconds:.1f} s", flush=True)
    ours, cost = bench.operator(1, pods, gang="None", nodes=nodes)
    print(f"operator: {pods} pods in {ours.seconds:.1f} s, {ours.p99:.1f} s from apply", flush=True)
    return {
        "pods": pods,
        "bare_s": bare.seconds,
        "operator_s": ours.seconds,
        "from_apply_s": ours.p99,
        "rate_ratio": bare.seconds / ours.seconds,
        "bare_cpu_ms_a_pod": bare.cpu_ms_a_pod,
        "operator_cpu_ms_a_pod": ours.cpu_ms_a_pod,
        "writes": cost["writes"],
        "rss_mb": cost["rss_mb"],
        "restart": _restart(bench, size.of(RESTARTED_PODS), body),
    }


def render(figures: Mapping[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    restart = figures["restart"]
    return [
        "| what | bare script | operator | ratio | aim |",
        "|---|---|---|---|---|",
        f"| {figures['pods']:,} pods in one job | {figures['bare_s']:.1f} s | {figures['operator_s']:.1f} s "
        f"| {figures['rate_ratio']:.2f} of its rate | >= {AIM_RATIO} |",
        f"| one of {restart['pods']:,} pods fails, all are made anew | {restart['bare_s']:.2f} s (creation) "
        f"| {restart['operator_s']:.2f} s | {restart['ratio']:.2f} x its time | <= {AIM_RESTART} |",
        "",
        f"From apply to the last of {figures['pods']:,} pods {figures['from_apply_s']:.1f} s; the operator then takes "
        f"{figures['rss_mb']:.0f} MB, and has written {figures['writes']:.0f} times beyond pods and Service. CPU for a "
        f"pod: script {figures['bare_cpu_ms_a_pod']:.2f} ms, operator {figures['operator_cpu_ms_a_pod']:.2f} ms.",
    ]


def _restart(bench: Bench, pods: int, body: dict[str, Any]) -> dict[str, Any]:
    pairs = []
    for number in range(ROUNDS):
        bare = bench.bare(1, pods, body).seconds
        ours = bench.restart(pods, bench.bed.fake_node_names)
        pairs.append((bare, ours))
        print(f"one of {pods} fails, round {number + 1}: bare {bare:.2f} s, operator {ours:.2f} s", flush=True)
    return {
        "pods": pods,
        "rounds": ROUNDS,
        "bare_s": statistics.median(bare for bare, _ in pairs),
        "operator_s": statistics.median(ours for _, ours in pairs),
        "ratio": statistics.median(ours / bare for bare, ours in pairs),
    }
