"""An API server of this folder's own: installing and uninstalling takes the CRD from everybody else."""

from __future__ import annotations

import os

import pytest

from e2e.cluster import Bed, bed
from tests.support import servers
from tests.support.helm import NAMESPACE

RESTRICTED = ["pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted"]


@pytest.fixture(scope="session")
def chart_server() -> Bed:
    """Return a real API server without nodes, with the namespaces that the tests install into; one a process."""
    name = "-".join(["chart", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
    keep = bool(os.environ.get("PACELINE_KEEP_BED"))
    started = servers.hold("chart_server", bed(name=name, nodes=0, s3=False, keep=keep))
    for namespace in (NAMESPACE, "team-a", "team-b", "elsewhere"):
        started.kubectl("create", "namespace", namespace, check=False)
        started.kubectl("label", "namespace", namespace, "--overwrite", *RESTRICTED)
    return started
