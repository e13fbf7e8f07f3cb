"""Helm for tests, and what the chart renders to, parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from e2e import helm as e2e_helm

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "paceline"
NAMESPACE = "paceline-system"
RELEASE = "paceline"
# Rendering takes a third of a second, an install without waiting a few; two busy cores may take ten times that.
HELM_S = 120.0

Manifest = dict[str, Any]


def helm(*args: str | Path, kubeconfig: Path | None = None, stdin: str | None = None) -> str:
    """`e2e.helm.helm`, bounded."""
    return e2e_helm.helm(*args, kubeconfig=kubeconfig, stdin=stdin, timeout_s=HELM_S)


def render_text(values: Mapping[str, Any] | None = None, *extra: str, chart: Path = CHART) -> str:
    """Return what `helm template` prints for these values."""
    return helm(
        "template", RELEASE, chart, "--namespace", NAMESPACE, "--values", "-", *extra, stdin=json.dumps(values or {})
    )


def render(values: Mapping[str, Any] | None = None, *, chart: Path = CHART) -> list[Manifest]:
    """Return the manifests that the chart renders to for these values."""
    return parse(render_text(values, chart=chart))


def parse(text: str) -> list[Manifest]:
    """Return the manifests of a text, by libyaml: Python's own parser takes half a second for the CRD."""
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of a kind, in their order."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def the(manifests: Sequence[Manifest], kind: str) -> Manifest:
    """Return the only manifest of a kind; an AssertionError tells how many there were."""
    found = of_kind(manifests, kind)
    assert len(found) == 1, f"{len(found)} of kind {kind}: {[item['metadata']['name'] for item in found]}"
    return found[0]
