"""Fake nodes for scale: Node objects that kwok keeps ready, and whose pods kwok runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from e2e.cluster import build
from e2e.cluster.api import Api, ApiError
from e2e.cluster.components import KWOK

ANNOTATION = "kwok.x-k8s.io/node"
_CONNECTIONS = 8


def command(kubeconfig: Path, *, lease_s: int, config: Path | None = None) -> list[str]:
    """kwok's command line.

    Args:
        kubeconfig: An administrator's.
        lease_s: Duration of the nodes' leases. They are renewed four times as often, which is load.
        config: Stages of one's own in place of the fast built-in ones.
    """
    return [
        build.program(KWOK),
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--node-lease-duration-seconds={lease_s}",
        "--cidr=100.64.0.0/10",
        "--v=WARN",
        *([f"--config={config}"] if config else []),
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
    """Create the nodes over a few connections; those that exist are left alone."""
    pending = list(nodes)
    errors: list[BaseException] = []

    def work() -> None:
        link = api.connect(30)
        try:
            while pending and not errors:
                _create(api, pending.pop(), link)
        except IndexError:  # another thread took the last one
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            link.close()

    threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _create(api: Api, body: dict[str, Any], link: HTTPSConnection) -> None:
    try:
        api.call("POST", "/api/v1/nodes", body, connection=link)
    except ApiError as error:
        if error.status != 409:
            raise
