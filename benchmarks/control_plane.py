"""The control plane's figures: the operator beside a bare script of parallel POSTs, on one real API server.

    python -m benchmarks.control_plane [--shape 1x200 ...] [--rounds 3] [--scale] [--write FILE]
    python -m benchmarks.control_plane --idle [--write FILE]      # with 1,000 jobs x 10 running pods
    python -m benchmarks.control_plane --costs [--write FILE]     # of one object of each kind, for the API server

The API server, etcd, scheduler and controller-manager are real; the nodes are kwok's. In each round the bare script
makes the same pods (the operator's own bodies, without owner) and the operator makes them from TrainJobs; times are
those of the API server's audit log. The first round on a new API server is not counted. The jobs have `gang: Timeout`,
which writes nothing; one row more has PodGroups. The scheduler binds what it can meanwhile: of pods that come more
slowly it binds more before the last one is there, on the same cores. In the last rows the pods name their node, and it
has no part.
Ratios count: the absolute figures are the machine's, which is printed along.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import numbers
from benchmarks.bench import Bench
from e2e.cluster import bed

SHAPES = ((1, 200), (100, 4), (500, 4))
# All other rows go by Timeout, which writes nothing: what PodGroups cost stands apart.
GROUP_SHAPE = (100, 4)
SCALE_SHAPE = (1000, 4)
KWOK_NODES = 50
# Shapes of fewer pods than this take seconds and differ more from round to round: they have two rounds more.
FEW_PODS = 1000


def main() -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description="The control plane's figures, beside a bare script.")
    parser.add_argument("--shape", action="append", help="jobs x workers, e.g. 100x4 (default: 1x200 100x4 500x4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", action="store_true", help="also 1,000 jobs x 4 pods")
    parser.add_argument("--idle", action="store_true", help="only memory and idle CPU with 1,000 jobs x 10 pods")
    parser.add_argument("--costs", action="store_true", help="only what each kind of object costs the API server")
    parser.add_argument("--write", type=Path, help="write the figures as JSON to this file, beside what it has already")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": numbers.machine()}

    with bed(name="bench", nodes=0, kwok_nodes=KWOK_NODES, s3=False) as b:
        bench = Bench(b)
        bench.prepare()
        if options.idle:
            # It leaves its pods behind: the bed is taken down with them.
            figures["idle"] = bench.idle(1000, 10)
            _print_idle(figures["idle"])
        elif options.costs:
            figures["server_cpu_ms"] = bench.server_cost()
            print("CPU of the API server, ms an object:", figures["server_cpu_ms"])
        else:
            figures |= _creation(bench, options)
            _print(figures)
    if options.write:
        known = json.loads(options.write.read_text()) if options.write.exists() else {}
        options.write.write_text(json.dumps(known | figures, indent=2) + "\n")
    return 0


def _creation(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    shapes = [(int(a), int(b)) for a, b in (s.split("x") for s in options.shape or [])] or list(SHAPES)
    # What a new API server does for the first time, for either side, is no rate.
    print("to warm up, not counted:", end=" ", flush=True)
    _compare(bench, *shapes[0], 1)
    rows = [_compare(bench, *shape, _rounds(options, shape)) for shape in shapes]
    restart = _restarts(bench, options.rounds)
    groups = _compare(bench, *GROUP_SHAPE, _rounds(options, GROUP_SHAPE), gang="PodGroup")
    rows += [_compare(bench, *SCALE_SHAPE, 1)] if options.scale else []
    bench.still_kubelets()
    node = bench.bed.fake_node_names[0]
    named = [_compare(bench, *shape, _rounds(options, shape), node=node) for shape in SHAPES if shape in shapes]
    return {"rounds": options.rounds, "creation": rows, "pod_groups": groups, "named": named, "restart": restart}


def _rounds(options: argparse.Namespace, shape: tuple[int, int]) -> int:
    jobs, workers = shape
    return int(options.rounds) + (2 if jobs * workers < FEW_PODS else 0)


def _compare(
    bench: Bench, jobs: int, workers: int, rounds: int, gang: str = "Timeout", node: str = ""
) -> dict[str, Any]:
    body = bench.template(node)
    pairs = []
    for number in range(rounds):
        bare = bench.bare(jobs, workers, body)
        ours, cost = bench.operator(jobs, workers, gang=gang, nodes=[node] if node else ())
        pairs.append((bare, ours, cost))
        print(
            f"{jobs} x {workers}, {gang}{', node named' * bool(node)}, round {number + 1}: "
            f"bare {bare.rate:.0f} pods/s, operator {ours.rate:.0f} pods/s, ratio {ours.rate / bare.rate:.2f}, "
            f"p99 {bare.p99:.2f} s and {ours.p99:.2f} s",
            flush=True,
        )
    median = statistics.median
    ratios = [ours.rate / bare.rate for bare, ours, _ in pairs]
    return {
        "jobs": jobs, "workers": workers, "gang": gang, "named": bool(node), "rounds": rounds,
        "bare_pods_per_s": median(b.rate for b, _, _ in pairs),
        "operator_pods_per_s": median(o.rate for _, o, _ in pairs),
        "ratio": median(ratios),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "bare_p99_s": median(b.p99 for b, _, _ in pairs),
        "operator_p99_s": median(o.p99 for _, o, _ in pairs),
        "p99_ratio": median(o.p99 / b.p99 for b, o, _ in pairs),
        "writes": None if node or bench.unfinished(jobs, workers) else median(c["writes"] for _, _, c in pairs),
        "bare_cpu_ms_a_pod": median(b.cpu_ms_a_pod for b, _, _ in pairs),
        "operator_cpu_ms_a_pod": median(o.cpu_ms_a_pod for _, o, _ in pairs),
        "rss_mb": median(c["rss_mb"] for _, _, c in pairs),
    }  # fmt: skip


def _restarts(bench: Bench, rounds: int) -> dict[str, float]:
    took = [bench.restart(16) for _ in range(rounds)]
    return {"workers": 16, "median_s": statistics.median(took), "worst_s": max(took)}


def _print(figures: dict[str, Any]) -> None:
    rows = [*figures["creation"], figures["pod_groups"], *figures["named"]]
    rounds = " or ".join(map(str, sorted({row["rounds"] for row in rows})))
    print(f"\n{figures['machine']}; medians of {rounds} rounds\n")
    print("| jobs x workers | bare pods/s | operator pods/s | ratio | p99 ratio | writes a job | CPU ms a pod | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        name = f"{row['jobs']} x {row['workers']}" + (", PodGroup" if row["gang"] == "PodGroup" else "")
        name += ", node named" * row["named"]
        writes = "-" if row["writes"] is None else f"{row['writes']:.2f}"
        print(
            f"| {name} | {row['bare_pods_per_s']:.0f} | {row['operator_pods_per_s']:.0f} "
            f"| {row['ratio']:.2f} | {row['p99_ratio']:.2f} | {writes} "
            f"| {row['bare_cpu_ms_a_pod']:.2f} and {row['operator_cpu_ms_a_pod']:.2f} | {row['rss_mb']:.0f} |"
        )
    restart = figures["restart"]
    print(f"\none of {restart['workers']} pods fails -> all new pods created: {restart['median_s']:.2f} s median")


def _print_idle(idle: dict[str, float]) -> None:
    print(f"{idle['jobs']} jobs, {idle['pods']} pods: {idle['rss_mb']:.0f} MB, idle CPU {idle['idle_cpu']:.1%}")


if __name__ == "__main__":
    sys.exit(main())
