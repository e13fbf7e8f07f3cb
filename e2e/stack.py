"""Paceline on a cluster: the images, the chart, and a namespace to train in.

Used by `make run`, by the end-to-end tests and by the benchmarks, so that all of them try what a user installs.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import Bed
from e2e.cluster.images import operator_image, torch_image
from e2e.helm import helm
from e2e.kube import Kube

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "paceline"
SYSTEM_NAMESPACE = "paceline-system"
# Every pod that Paceline makes must pass the strictest of Kubernetes' own standards.
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}


@dataclass(frozen=True, slots=True)
class Stack:
    """A cluster that has, or gets, the operator."""

    kube: Kube
    values: dict[str, str] = field(default_factory=dict)
    bed: Bed | None = None
    """The test bed that it runs on, if it does: its machines can be killed."""

    def install(self) -> None:
        """Install or upgrade the operator by Helm and wait until it is ready."""
        settings = [arg for key, value in self.values.items() for arg in ("--set-string", f"{key}={value}")]
        self.helm(
            "upgrade", "--install", "paceline", str(CHART), "--namespace", SYSTEM_NAMESPACE, "--create-namespace",
            "--wait", "--timeout", "180s", *settings,
        )  # fmt: skip

    def helm(self, *args: str) -> str:
        """Run helm on this cluster.

        Raises:
            HelmError: It exited with another code than 0.
        """
        return helm(*args, kubeconfig=self.kube.kubeconfig)

    def paceline(self, *args: str, check: bool = True, echo: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the CLI as a user does; `echo` lets it write to this terminal."""
        command = [str(ROOT / ".venv" / "bin" / "paceline"), *args]
        return subprocess.run(command, env=self.kube.env, text=True, capture_output=not echo, check=check)

    def operator_pods(self) -> list[str]:
        """Names of the operator's pods that are not being deleted."""
        pods = self.kube.list("pods", SYSTEM_NAMESPACE, "app.kubernetes.io/name=paceline")
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def on_bed(bed: Bed, *, torch: bool = True) -> Stack:
    """Build the images, bring them to the bed's nodes, and return what installs from them."""
    images = [operator_image(), *([torch_image()] if torch else [])]
    for tar in images:
        bed.load_image(tar)
    # The tag stays the same: the content's key in the name of the archive rolls the operator when it has changed.
    changed = {"podAnnotations.content": images[0].stem}
    values = {"image.repository": "paceline/operator", "image.tag": "dev"} | changed
    return Stack(Kube(bed.kubeconfig, api=bed.api), values, bed)


def on_users_cluster() -> Stack:
    """Return the cluster that KUBECONFIG names, with the published images or those of PACELINE_IMAGE."""
    repository, _, tag = os.environ.get("PACELINE_IMAGE", "").rpartition(":")
    values = {"image.repository": repository, "image.tag": tag} if repository else {}
    return Stack(Kube(Path(os.environ["KUBECONFIG"])), values)
