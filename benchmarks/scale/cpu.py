"""Who used the cores: CPU seconds of the bed's processes, the operator and this script."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import psutil

from benchmarks.numbers import cpu_s
from e2e.cluster import Bed

SHOWN = {
    "kube-apiserver": "API server", "etcd": "etcd", "kube-controller-manager": "controller manager",
    "kube-scheduler": "scheduler", "kwok": "fake nodes",
}  # fmt: skip


class CpuMeter:
    """Counts from when it is made."""

    def __init__(self, b: Bed, operator: psutil.Process | None = None) -> None:
        self._processes = {shown: psutil.Process(pid) for name, shown in SHOWN.items() if (pid := b.process(name).pid)}
        self._processes["script"] = psutil.Process(os.getpid())
        if operator is not None:
            self._processes["operator"] = operator
        self._began = time.monotonic()
        self._before = self._now()

    def cores(self) -> dict[str, float]:
        """Return how many cores each has used on the average since the start."""
        took = time.monotonic() - self._began
        return {name: round((s - self._before.get(name, 0.0)) / took, 3) for name, s in self._now().items()}

    def _now(self) -> Mapping[str, float]:
        return {name: cpu_s(process) for name, process in self._processes.items()}
