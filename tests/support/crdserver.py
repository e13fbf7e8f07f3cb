"""The API server of the session with the CRD installed."""

from __future__ import annotations

import pytest
import yaml

from e2e.cluster import Bed
from paceline.api.crd import crd


@pytest.fixture(scope="session")
def crd_server(api_server: Bed) -> Bed:
    """Return the real API server, knowing TrainJobs."""
    api_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump(crd()))
    api_server.kubectl("wait", "--for=condition=Established", "crd/trainjobs.paceline.dev", "--timeout=30s")
    return api_server
