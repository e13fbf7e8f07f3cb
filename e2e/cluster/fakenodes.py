"""Fake nodes for scale: Node objects that kwok keeps ready, and whose pods kwok runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from e2e.cluster import build
from e2e.cluster.api import Api, ApiError
from e2e.cluster.components import KWOK
from e2e.cluster.errors import BedError
from e2e.cluster.paths import SOURCE

ANNOTATION = "kwok.x-k8s.io/node"
STAGES = SOURCE / "stages.yaml"
_CONNECTIONS = 8


def command(kubeconfig: Path, *, lease_s: int, config: Path | None = None) -> list[str]:
    """kwok's command line.

    Args:
        kubeconfig: An administrator's.
        lease_s: Duration of the nodes' leases. They are renewed four times as often, which is load.
        config: Stages of one's own in place of `stages.yaml`.
    """
    return [
        build.program(KWOK),
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--node-lease-duration-seconds={lease_s}",
        "--cidr=100.64.0.0/10",
        "--v=WARN",
        f"--config={config or STAGES}",
    ]


def node(name: str, gpus: int, *, tainted: bool) -> dict[str, Any]:
    """A fake node. `tainted` keeps pods away that do not tolerate it, for beds that have real nodes too."""
    amounts = {"cpu": "64", "memory": "512Gi", "pods": "250", "nvidia.com/gpu": str(gpus)}
    taints = [{"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}] if tainted else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "spec": {"taints": taints},
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def create(api: Api, nodes: Iterable[dict[str, Any]]) -> None:
    """Create the nodes, several at a time; those that exist are left alone."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(lambda body: _create(api, body), nodes):
            pass


def wait_ready(api: Api, count: int, timeout_s: float = 120.0) -> None:
    """Return when kwok has made that many fake nodes Ready."""
    deadline = time.monotonic() + timeout_s
    while True:
        nodes = api.call("GET", "/api/v1/nodes?labelSelector=type%3Dkwok&resourceVersion=0")["items"]
        ready = [
            n
            for n in nodes
            if any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", []))
        ]
        if len(ready) >= count:
            return
        if time.monotonic() > deadline:
            raise BedError(f"{len(ready)} of {count} fake nodes are ready after {timeout_s:.0f} s")
        time.sleep(0.2)


def _create(api: Api, body: dict[str, Any]) -> None:
    try:
        api.call("POST", "/api/v1/nodes", body)
    except ApiError as error:
        if error.status != 409:
            raise
