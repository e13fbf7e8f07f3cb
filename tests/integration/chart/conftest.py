"""An API server of this folder's own: installing and uninstalling takes the CRD from everybody else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from e2e.cluster import Bed, bed
from tests.support.helm import NAMESPACE

RESTRICTED = ["pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted"]


@pytest.fixture(scope="session")
def chart_server() -> Iterator[Bed]:
    """Return a real API server without nodes, with the namespaces that the tests install into; one a process."""
    name = "-".join(["chart", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
    with bed(name=name, nodes=0, s3=False, keep=bool(os.environ.get("PACELINE_KEEP_BED"))) as started:
        for namespace in (NAMESPACE, "team-a", "team-b", "elsewhere"):
            started.kubectl("create", "namespace", namespace, check=False)
            started.kubectl("label", "namespace", namespace, "--overwrite", *RESTRICTED)
        yield started
