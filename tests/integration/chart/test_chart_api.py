"""What the chart renders, judged by a real API server: strict fields, Pod Security, rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Bed
from e2e.kube import as_list
from tests.integration.chart.test_chart_render import ALL_VALUES
from tests.support.helm import NAMESPACE, ROOT, Manifest, parse, render

APPLY = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")


def try_out(bed: Bed, *where: str, text: str | None = None) -> str:
    """Return what a server-side dry run says, errors and warnings included."""
    return bed.kubectl(*APPLY, *where, input=text, check=False)


def known_here(manifests: list[Manifest]) -> list[Manifest]:
    # The Prometheus operator's kinds are not installed on the test bed.
    return [manifest for manifest in manifests if "monitoring.coreos.com" not in manifest["apiVersion"]]


@pytest.mark.parametrize("values", ALL_VALUES)
def test_the_api_server_takes_every_manifest_without_a_warning(chart_server: Bed, values: dict[str, Any]) -> None:
    manifests = known_here(render(values))
    said = try_out(chart_server, "-f", "-", text=as_list(manifests))
    assert len([line for line in said.splitlines() if line.endswith("(server dry run)")]) == len(manifests), said
    assert "warning" not in said.lower()


def test_the_api_server_does_warn_of_a_pod_that_is_not_restricted(chart_server: Bed) -> None:
    manifests = known_here(render({"securityContext": {"allowPrivilegeEscalation": True}}))
    assert "would violate PodSecurity" in try_out(chart_server, "-f", "-", text=as_list(manifests))


@pytest.mark.parametrize("overlay", ["default", "namespaced"])
def test_the_kustomize_overlays_are_taken_without_a_warning(chart_server: Bed, overlay: str) -> None:
    folder = ROOT / "config" / overlay
    objects = parse(chart_server.kubectl("kustomize", str(folder)))
    said = try_out(chart_server, "-k", str(folder))
    assert len([line for line in said.splitlines() if line.endswith("(server dry run)")]) == len(objects), said
    assert "warning" not in said.lower()


def test_the_operator_of_kustomize_reads_the_generated_config_map(chart_server: Bed) -> None:
    for overlay in ("default", "namespaced"):
        objects = parse(chart_server.kubectl("kustomize", str(Path(ROOT, "config", overlay))))
        names = [found["metadata"]["name"] for found in objects if found["kind"] == "ConfigMap"]
        pod = next(found for found in objects if found["kind"] == "Deployment")["spec"]["template"]["spec"]
        assert [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume] == names
        assert names[0].startswith("paceline-operator-")
        assert {found["metadata"].get("namespace", NAMESPACE) for found in objects} == {NAMESPACE}
