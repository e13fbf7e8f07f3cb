"""A slow API server (priority and fairness, 429 with Retry-After): is all made, and without a storm?"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import OPERATOR_AGENT, SETTLE_MANY_S, Bench, is_new_pod
from benchmarks.hand import trainjobs
from benchmarks.numbers import metric
from benchmarks.scale.size import Size

JOBS = 100
WORKERS = 4
USER = "slow-operator"
THROTTLED = 429
# As few seats as there can be, and places for a fifth of the requests that the operator has under way at once: the rest
# is sent away with Retry-After.
LEVEL: dict[str, Any] = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": USER},
    "spec": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 1,
            "lendablePercent": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 8}},
        },
    },
}
SCHEMA: dict[str, Any] = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {"name": USER},
    "spec": {
        "priorityLevelConfiguration": {"name": USER},
        "matchingPrecedence": 100,
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": USER}}],
                "resourceRules": [
                    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
                ],
            }
        ],
    },
}
# The administrator's group is exempt from all limits: the operator needs a user of its own.
RIGHTS: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": USER},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
}


def measure(bench: Bench, size: Size) -> dict[str, Any]:
    """Return the same jobs made with and without the limit."""
    bench.still_kubelets()
    kubeconfig = bench.bed.plane.authority.kubeconfig(USER, bench.bed.server, USER)
    bench.bed.kubectl("apply", "-f", "-", input=yaml.safe_dump(RIGHTS))
    jobs = size.of(JOBS)
    free = _run(bench, jobs, kubeconfig)
    print(f"without a limit: {free['seconds']:.1f} s", flush=True)
    bench.bed.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([LEVEL, SCHEMA]))
    # The API server takes a new level over within a moment; nothing tells when.
    time.sleep(3)
    slow = _run(bench, jobs, kubeconfig)
    print(f"with it: {slow['seconds']:.1f} s, {slow['throttled']} times 429", flush=True)
    return {"jobs": jobs, "workers": WORKERS, "free": free, "throttled": slow}


def render(figures: Mapping[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    lines = [
        f"| {figures['jobs']} jobs x {figures['workers']} pods | all pods after | 429 seen | requests | jobs Succeeded "
        "| restarts | log lines of failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, shown in (("free", "without a limit"), ("throttled", "with few seats")):
        found = figures[side]
        lines.append(
            f"| {shown} | {found['seconds']:.1f} s | {found['throttled']:.0f} | {found['requests']:.0f} "
            f"| {found['succeeded']} | {found['attempts']} | {found['complaints']} |"
        )
    return lines


def _run(bench: Bench, jobs: int, kubeconfig: Path) -> dict[str, Any]:
    with bench.running_operator(kubeconfig) as running:
        bench.audit.new()
        asyncio.run(bench.hand.submit(trainjobs(jobs, WORKERS, bench.bed.fake_node_names)))
        began = time.time()
        seen = bench.await_pods(jobs * WORKERS, timeout_s=SETTLE_MANY_S)
        asyncio.run(bench.hand.run_all())
        asyncio.run(bench.hand.finish(jobs, timeout_s=SETTLE_MANY_S))
        page = running.operator.page("/metrics")
        log = running.operator.log.read_text()
    text = bench.bed.kubectl("get", "trainjobs", "-n", "bench", "-o", "json")
    statuses = [job.get("status", {}) for job in yaml.safe_load(text)["items"]]
    rest = bench.audit.new()
    bench.clean(jobs * WORKERS)
    return {
        "seconds": max(r.finished for r in seen if is_new_pod(r)) - began,
        # The audit log has writes alone, the operator counts them all.
        "throttled": metric(page, "paceline_api_requests_total", code=str(THROTTLED)),
        "throttled_writes": sum(r.code == THROTTLED and OPERATOR_AGENT in r.user_agent for r in [*seen, *rest]),
        "requests": metric(page, "paceline_api_requests_total"),
        "succeeded": sum(status.get("phase") == "Succeeded" for status in statuses),
        "attempts": sum(status.get("attempt", 0) for status in statuses),
        "complaints": len(re.findall(r"WARNING|ERROR", log)),
        "first_complaint": next((line for line in log.splitlines() if re.search("WARNING|ERROR", line)), ""),
    }
