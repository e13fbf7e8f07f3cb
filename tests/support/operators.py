"""Operator processes for integration tests, beside a release of the chart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from e2e.cluster import Bed
from e2e.operators import OperatorProcess, operator
from tests.support.helm import NAMESPACE


@contextlib.contextmanager
def operator_with_the_charts_rights(bed: Bed, folder: Path) -> Iterator[OperatorProcess]:
    """Run the operator with the ConfigMap and the ServiceAccount of the release, and stop it as Kubernetes does."""
    text = bed.kubectl("-n", NAMESPACE, "get", "configmap", "paceline-operator", "-o", r"jsonpath={.data.config\.yaml}")
    config = yaml.safe_load(bed.kubeconfig.read_text())
    token = bed.kubectl("-n", NAMESPACE, "create", "token", "paceline-operator", "--duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    kubeconfig.chmod(0o600)
    with operator(kubeconfig, folder, "paceline-operator-0", NAMESPACE, **yaml.safe_load(text)) as running:
        yield running
        running.stop()
