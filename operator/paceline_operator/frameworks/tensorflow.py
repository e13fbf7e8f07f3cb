"""`tensorflow`: TF_CONFIG with one list of workers, each process with a port of its own."""

from __future__ import annotations

import json

from paceline_operator import contract
from paceline_operator.frameworks.base import Group


def env(group: Group, index: int) -> dict[str, str]:
    """TF_CONFIG of the pod's first process; the agent sets `task.index` for the others."""
    workers = [
        f"{group.address(pod)}:{contract.TF_PORT + local}"
        for pod in range(group.pods)
        for local in range(group.per_pod)
    ]
    task = {"type": "worker", "index": index * group.per_pod}
    return {contract.TF_CONFIG: json.dumps({"cluster": {"worker": workers}, "task": task}, separators=(",", ":"))}
