"""What the operator's configuration tells the decisions and the manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What a job gets where it says nothing, and how its pods are made."""

    agent_image: str = "paceline/operator"
    agent_image_pull_policy: str | None = None
    storage_path: str | None = None
    storage_secret: str | None = None
    storage_secret_key: str | None = None
    """For a `gs://` path: which key of the Secret is the file."""
    accelerators: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Node labels for each kind of GPU that a job may name."""
    pod_security: Literal["restricted", "none"] = "restricted"
    tensorboard: bool = True
    """Whether the operator may make Deployments for `spec.tracking.tensorboard.serve`."""
    run_as_user: int = 1000
    """Uid and gid of the workers under `restricted`."""
