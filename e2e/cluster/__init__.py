"""The local test bed: a real Kubernetes with real nodes on one Linux machine, built from source, without any registry.

from e2e.cluster import bed

with bed("mine", nodes=3) as b:
    b.kubectl("apply", "-f", "job.yaml")
"""

from __future__ import annotations

from e2e.cluster.bed import Bed, KubectlError
from e2e.cluster.lifecycle import bed, down, up
from e2e.cluster.preflight import RefusedError
from e2e.cluster.state import Options

__all__ = ["Bed", "KubectlError", "Options", "RefusedError", "bed", "down", "up"]
