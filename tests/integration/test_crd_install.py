"""The CRD itself on a real API server: taken without warnings, applied twice without change, with its columns."""

from __future__ import annotations

import json
from typing import Any

from e2e.cluster import Bed
from paceline.api.crd import crd
from tests.support.apiserver import send
from tests.support.trainjobs import make_trainjob

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "trainjobs.paceline.dev"
NAMESPACE = "columns"
JOBS = f"/apis/paceline.dev/v1alpha1/namespaces/{NAMESPACE}/trainjobs"


def test_the_api_server_takes_the_crd_without_a_warning_and_as_structural(crd_server: Bed) -> None:
    answer = send(
        crd_server,
        "PATCH",
        f"{CRDS}/{NAME}?fieldManager=test-crd&force=true&dryRun=All&fieldValidation=Strict",
        crd(),
        "application/apply-patch+yaml",
    )
    assert (answer.status, answer.warnings) == (200, ())
    conditions = {
        entry["type"]: entry["status"]
        for entry in send(crd_server, "GET", f"{CRDS}/{NAME}").body["status"]["conditions"]
    }
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_applying_it_again_changes_nothing(crd_server: Bed) -> None:
    before = send(crd_server, "GET", f"{CRDS}/{NAME}").body["metadata"]
    said = crd_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd()))
    crd_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(crd()))
    after = send(crd_server, "GET", f"{CRDS}/{NAME}").body["metadata"]
    assert "trainjobs.paceline.dev" in said
    assert (after["generation"], after["uid"]) == (before["generation"], before["uid"])


def test_kubectl_get_shows_phase_workers_step_checkpoint_restarts_and_age(crd_server: Bed) -> None:
    crd_server.kubectl("create", "namespace", NAMESPACE, check=False)
    job = (
        make_trainjob("shown", NAMESPACE)
        .workers(4)
        .status(
            phase="Running",
            restarts=1,
            workers={"desired": 4, "running": 3},
            progress={"step": 1200},
            checkpoint={"path": "s3://b/digits/checkpoint_000012", "index": 12},
        )
    )
    try:
        assert send(crd_server, "POST", JOBS, job.body()).body["status"] == {"phase": "Pending"}
        status: Any = {"status": job.obj().status.to_body()}
        path = f"{JOBS}/shown/status?fieldValidation=Strict"
        assert send(crd_server, "PATCH", path, status, "application/merge-patch+json").status == 200

        header, row = crd_server.kubectl("get", "tj", "-n", NAMESPACE).splitlines()
        assert header.split() == ["NAME", "PHASE", "WORKERS", "STEP", "CHECKPOINT", "RESTARTS", "AGE"]
        assert row.split()[:-1] == ["shown", "Running", "3/4", "1200", "12", "1"]
        assert "shown" in crd_server.kubectl("get", "all", "-n", NAMESPACE)
        only = crd_server.kubectl("get", "tj", "-n", NAMESPACE, "--field-selector=status.phase=Running", "-o", "name")
        assert only.split() == ["trainjob.paceline.dev/shown"]
    finally:
        send(crd_server, "DELETE", f"{JOBS}/shown")
