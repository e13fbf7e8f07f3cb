"""What a job did after a fault, by this machine's clock: looked at ten times a second, whatever the API server does."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2e.cluster import Bed, KubectlError
from e2e.cluster.api import ApiError
from e2e.jobs import Workspace

LOOK_S = 0.1
STEP = re.compile(r"(\[rank 0\] )?epoch \d")


@dataclass(slots=True)
class Seen:
    """Seconds since the epoch; None: not yet."""

    restarted: float | None = None
    """The next attempt is on record."""
    created: float | None = None
    """All its pods are there."""


class Timeline:
    """Watches one job, in a thread, while the block runs."""

    def __init__(self, bed: Bed, space: Workspace, job: str) -> None:
        self._api, self._namespace, self._job = bed.api, space.namespace, job
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timeline", daemon=True)
        self._from = 0
        self.seen = Seen()

    def __enter__(self) -> Timeline:
        """Begin with the attempt that runs now."""
        self._from = self._body().get("status", {}).get("attempt", 0)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            # A dead API server is one of the faults.
            with suppress(ApiError, OSError, ValueError):
                self._look()

    def _look(self) -> None:
        if self.seen.created is not None:
            return
        body = self._body()
        if self.seen.restarted is None:
            if body.get("status", {}).get("attempt", 0) <= self._from:
                return
            self.seen.restarted = time.time()
        selector = f"paceline.dev/job%3D{self._job},paceline.dev/attempt%3D{self._from + 1}"
        pods = self._api.call("GET", f"/api/v1/namespaces/{self._namespace}/pods?labelSelector={selector}")
        workers = body["spec"]["workers"]
        if len(pods["items"]) == workers["count"] // workers["perPod"]:
            self.seen.created = time.time()

    def _body(self) -> dict[str, Any]:
        where = f"/apis/paceline.dev/v1alpha1/namespaces/{self._namespace}/trainjobs/{self._job}"
        body: dict[str, Any] = self._api.call("GET", where)
        return body


def steps(space: Workspace, pod: str) -> list[float]:
    """When a pod told its steps, in seconds since the epoch; the nodes' clock is this machine's."""
    try:
        text = space.kube.kubectl("logs", pod, "-n", space.namespace, "-c", "worker", "--timestamps")
    except KubectlError:
        return []  # it has not started, or is gone
    lines = (line.partition(" ") for line in text.splitlines())
    return [_epoch(at) for at, _, said in lines if STEP.match(said)]


def _epoch(text: str) -> float:
    # Nanoseconds are more than datetime reads.
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()
