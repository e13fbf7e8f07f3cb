"""The same faults into torchrun with --max-restarts, as an indexed Job with a headless Service: what it can do."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.chaos.arena import Arena
from e2e.chaos.faults import Fault
from e2e.chaos.timeline import steps
from e2e.cluster import Bed
from e2e.cluster.images import TORCH_IMAGE
from e2e.jobs import Workspace
from e2e.kube import wait_for
from e2e.stack import Stack

NAME = "torchrun"
WAIT_S = 150.0
START_S = 180.0
SCRIPT = Path(__file__).with_name("torchrun_train.py")
CLAIM = "state"
INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the fault to the first step after it; None where none came in `waited_s`."""

    fault: str
    first_step_s: float | None
    waited_s: float


class TorchrunArena(Arena):
    """The pods of an indexed Job; its processes bear its name in their environment."""

    def pod(self, index: int) -> dict[str, Any]:
        """The pod of a completion index that is not ending."""
        pods = self.space.kube.list("pods", self.space.namespace, f"job-name={self.job},{INDEX}={index}")
        (found,) = (pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
        return found

    def is_worker(self, environment: dict[str, str]) -> bool:
        """torchrun gives its processes a rank, and has none itself."""
        return "RANK" in environment


def run(b: Bed, stack: Stack, fault: Fault) -> Outcome:
    """Start it, strike, and wait for the first step after that."""
    space = Workspace.create(stack, b.s3, f"chaos-{uuid.uuid4().hex[:8]}")
    b.shared_volume(CLAIM, space.namespace)
    try:
        space.submit(*_objects(space.namespace))
        arena = TorchrunArena(b, space, NAME)
        wait_for("torchrun's fourth epoch", lambda: len(_steps(arena)) >= 4, timeout_s=START_S)
        struck = time.time()
        heal = fault.strike(arena)
        try:
            return _outcome(fault, arena, struck)
        finally:
            if heal is not None:
                heal()
    finally:
        space.delete()


def _outcome(fault: Fault, arena: TorchrunArena, struck: float) -> Outcome:
    # What was printed in the moment of the fault is no new step.
    settled = struck + 3.0
    while time.time() < struck + WAIT_S:
        after = [at for at in _steps(arena) if at > settled]
        if after:
            return Outcome(fault.name, round(after[0] - struck, 2), WAIT_S)
        time.sleep(0.5)
    return Outcome(fault.name, None, WAIT_S)


def _steps(arena: TorchrunArena) -> list[float]:
    """Times of all steps that any pod has told: rank 0 may have moved."""
    pods = arena.space.kube.list("pods", arena.space.namespace, f"job-name={arena.job}")
    return sorted(at for pod in pods for at in steps(arena.space, pod["metadata"]["name"]))


def _objects(namespace: str) -> list[dict[str, Any]]:
    command = [
        "python3", "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", "--max-restarts=10",
        # Over a file: Debian's torch has no libuv, which the TCP stores of torchrun's agent want.
        "--rdzv-backend=c10d", "--rdzv-conf=store_type=file", "--rdzv-endpoint=/state/rendezvous",
        f"--rdzv-id={NAME}", "/app/train.py",
    ]  # fmt: skip
    environment = {
        "PACELINE_JOB": NAME,
        "PACELINE_NAMESPACE": namespace,
        "USE_LIBUV": "0",
        # The workers make a store of their own, which heeds USE_LIBUV; the one that the agent would share does not.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "OMP_NUM_THREADS": "1",
    }
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"job-name": NAME}}}
    container = {
        "name": "worker", "image": TORCH_IMAGE, "command": command,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}},
        "volumeMounts": [{"name": "app", "mountPath": "/app"}, {"name": "state", "mountPath": "/state"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "subdomain": NAME,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [spread]}},
        "containers": [container],
        "volumes": [
            {"name": "app", "configMap": {"name": NAME}},
            {"name": "state", "persistentVolumeClaim": {"claimName": CLAIM}},
        ],
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"train.py": SCRIPT.read_text()}},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
            "spec": {"clusterIP": "None", "selector": {"job-name": NAME}, "publishNotReadyAddresses": True},
        },
        {
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": NAME},
            "spec": {
                "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 100,
                "template": {"spec": pod},
            },
        },
    ]  # fmt: skip
