"""Small jobs that take a checkpoint in each step of a fifth of a second: two pods of plain Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.images import OPERATOR_IMAGE
from e2e.jobs import SECRET, Object, Workspace
from e2e.kube import wait_for
from e2e.step_train import AT, GO
from e2e.stored import OnS3

SCRIPT = Path(__file__).with_name("step_train.py")
RANKS = 2
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def job(space: Workspace, name: str, steps: int, *trouble: str, **spec: Any) -> Object:
    """The manifest.

    Args:
        space: Where it will run.
        name: Of the job.
        steps: How many.
        trouble: What rank 1 of the first attempt does wrong, as `step_train.py` knows it.
        spec: Other fields of the job's spec.
    """
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            # Any image with Python.
            "image": OPERATOR_IMAGE,
            "command": ["python3", "-c", SCRIPT.read_text()],
            "args": [str(steps), *trouble],
            "workers": {
                "count": RANKS,
                "placement": "Spread",
                # No CPU: it would be a limit too, and a start of Python under 100m takes ten seconds.
                "resources": {"memory": "256Mi"},
            },
            "storage": {"path": space.storage_path, "secretRef": {"name": SECRET}},
            **spec,
        },
    }


@dataclass(frozen=True, slots=True)
class Stored:
    """What of such a job lies in its bucket."""

    commits: Mapping[int, Object]
    """By step; each of them whole, or `stored` raises."""
    reported: tuple[int, ...]
    """Steps of result.json, in its order."""


def placed(space: Workspace, name: str, attempt: int, *, timeout_s: float) -> dict[str, str]:
    """Wait until all pods of an attempt have a node; return it by the pod's name."""

    def look() -> dict[str, str] | None:
        pods = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in space.pods(name, attempt)}
        return pods if len(pods) == RANKS and all(pods.values()) else None

    return wait_for(f"nodes for {name}", look, timeout_s=timeout_s, seen=lambda: space.tell(name))


def ask_for_trouble(space: Workspace, name: str, *, timeout_s: float) -> None:
    """Let rank 1 go wrong, once the operator has seen rank 0 report that step."""
    wait_for(
        f"{name} to report step {AT}",
        lambda: (space.status(name).get("progress") or {}).get("step") == AT,
        timeout_s=timeout_s,
        seen=lambda: space.tell(name),
    )
    space.kube.kubectl("exec", f"{name}-0-1", "-n", space.namespace, "-c", "worker", "--", "touch", str(GO))


def stored(space: Workspace, name: str) -> Stored:
    """Read the bucket from outside.

    Raises:
        AssertionError: A committed checkpoint lacks a file, or a rank saved another step than it says.
    """
    files = OnS3(space.s3, space.bucket, f"runs/{name}/")
    sizes = files.sizes()
    commits = {}
    for directory in sorted(file.partition("/")[0] for file in sizes if file.endswith("/.paceline.json")):
        commit = json.loads(files.read(f"{directory}/.paceline.json"))
        there = {file: sizes.get(f"{directory}/{file}") for file in commit["files"]}
        assert there == {file: told["size"] for file, told in commit["files"].items()}, directory
        assert set(there) == {f"rank-{rank}.json" for rank in range(RANKS)}, directory
        saved = [json.loads(files.read(f"{directory}/{file}"))["step"] for file in there]
        assert saved == [commit["step"]] * RANKS, f"{directory} mixes steps"
        commits[commit["step"]] = commit
    lines = files.read("result.json").splitlines() if "result.json" in sizes else []
    return Stored(commits, tuple(json.loads(line)["step"] for line in lines))
