"""The API server of the session with the CRD installed."""

from __future__ import annotations

import json

import pytest

from e2e.cluster import Bed
from e2e.kube import wait_for
from paceline.api.crd import crd

# Two busy cores: the API server looks at a new CRD within a second.
ESTABLISHED_S = 30.0


def install(bed: Bed) -> None:
    """Make an API server know TrainJobs."""
    bed.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd()))
    # Not `kubectl wait`: it ends with an error where the object has no conditions yet.
    wait_for("the CRD of TrainJobs", lambda: _established(bed), timeout_s=ESTABLISHED_S)


def _established(bed: Bed) -> bool:
    found = bed.api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainjobs.paceline.dev")
    conditions = found.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)


@pytest.fixture(scope="session")
def crd_server(api_server: Bed) -> Bed:
    """Return the real API server, knowing TrainJobs."""
    install(api_server)
    return api_server
