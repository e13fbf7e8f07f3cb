"""Install, upgrade, uninstall and install again by helm itself, on a real API server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Bed
from e2e.kube import wait_for
from tests.support.helm import CHART, NAMESPACE, RELEASE, helm
from tests.support.operators import operator_with_the_charts_rights

CRD = "trainjobs.paceline.dev"
# The controller manager has to look at what was just created; two busy cores may take seconds.
CONTROLLERS_S = 60.0
# A Python process that starts, takes the lease and makes two pods.
OPERATOR_S = 60.0


@pytest.fixture
def server(chart_server: Bed) -> Iterator[Bed]:
    """Return the API server without any release, before and after."""
    yield chart_server
    helm("uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found", kubeconfig=chart_server.kubeconfig)
    chart_server.kubectl("delete", "crd", CRD, "--ignore-not-found")


def install(bed: Bed, values: dict[str, Any] | None = None, *, chart: Path = CHART) -> None:
    """Install or upgrade, without waiting: there is no node."""
    helm(
        *("upgrade", "--install", RELEASE, chart, "--namespace", NAMESPACE, "--values", "-"),
        kubeconfig=bed.kubeconfig,
        stdin=json.dumps(values or {}),
    )


def uninstall(bed: Bed) -> str:
    return helm("uninstall", RELEASE, "-n", NAMESPACE, "--cascade", "foreground", kubeconfig=bed.kubeconfig)


def get(bed: Bed, *what: str) -> Any:
    return json.loads(bed.kubectl("get", *what, "-o", "json"))


def established(bed: Bed) -> None:
    bed.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")


def train(bed: Bed, name: str, namespace: str, **spec: Any) -> None:
    job = {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"framework": "none", "image": "example/train:1", "command": ["true"], "workers": {"count": 2}} | spec,
    }
    bed.kubectl("apply", "-f", "-", input=json.dumps(job))


def can(bed: Bed, verb: str, resource: str, namespace: str, who: str = "") -> bool:
    subject = who or f"system:serviceaccount:{NAMESPACE}:paceline-operator"
    # kubectl reads what follows a slash as the name of an object.
    resource, _, subresource = resource.partition("/")
    asked = [verb, resource, f"--subresource={subresource}", "-n", namespace, f"--as={subject}"]
    said = bed.kubectl("auth", "can-i", *asked, check=False)
    return said.strip().splitlines()[-1] == "yes"


def test_the_deployment_gets_its_pod_in_a_restricted_namespace(server: Bed) -> None:
    install(server)
    pod = wait_for(
        "a pod of the operator",
        lambda: next(iter(get(server, "pods", "-n", NAMESPACE)["items"]), None),
        timeout_s=CONTROLLERS_S,
        seen=lambda: server.kubectl("get", "events", "-n", NAMESPACE),
    )
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "paceline"


def test_the_notes_show_a_job_that_the_api_server_takes(server: Bed) -> None:
    install(server, {"watchNamespaces": ["team-a"]})
    established(server)
    notes = helm("get", "notes", RELEASE, "-n", NAMESPACE, kubeconfig=server.kubeconfig)
    found = re.search(r"echo '(.*?)' \| kubectl -n team-a apply -f -", notes, re.DOTALL)
    assert found, notes
    said = server.kubectl("apply", "--dry-run=server", "-n", "team-a", "-f", "-", input=found[1])
    assert said.strip() == "trainjob.paceline.dev/hello created (server dry run)"


def test_an_upgrade_brings_the_new_crd_and_rolls_the_pods_for_a_new_configuration(server: Bed, tmp_path: Path) -> None:
    install(server)
    established(server)
    train(server, "kept", "team-a")
    before = get(server, "deployment", "paceline-operator", "-n", NAMESPACE)
    newer = tmp_path / "paceline"
    shutil.copytree(CHART, newer)
    crd = yaml.safe_load((newer / "files" / "crd.yaml").read_text())
    version = crd["spec"]["versions"][0]
    version["additionalPrinterColumns"].append({"name": "New", "type": "string", "jsonPath": ".spec.image"})
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["novel"] = {"type": "string"}
    (newer / "files" / "crd.yaml").write_text(yaml.safe_dump(crd))
    install(server, {"log": {"level": "debug"}}, chart=newer)
    there = get(server, "crd", CRD)["spec"]["versions"][0]
    assert there["additionalPrinterColumns"][-1]["name"] == "New"
    assert "novel" in there["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert get(server, "trainjob", "kept", "-n", "team-a")["spec"]["image"] == "example/train:1"
    after = get(server, "deployment", "paceline-operator", "-n", NAMESPACE)
    annotations = [found["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for found in (before, after)]
    assert annotations[0] != annotations[1]


def test_an_upgrade_without_a_change_changes_nothing(server: Bed) -> None:
    install(server)
    kinds = "crd,deployment,configmap,service,serviceaccount,role,rolebinding,networkpolicy"
    mine = ("-n", NAMESPACE, "-l", "app.kubernetes.io/instance=paceline")
    generation = {
        found["metadata"]["uid"]: found["metadata"].get("generation") for found in get(server, kinds, *mine)["items"]
    }
    data = get(server, "configmap", "paceline-operator", "-n", NAMESPACE)["metadata"]["resourceVersion"]
    install(server)
    assert len(generation) >= 8
    assert generation == {
        found["metadata"]["uid"]: found["metadata"].get("generation") for found in get(server, kinds, *mine)["items"]
    }
    assert get(server, "configmap", "paceline-operator", "-n", NAMESPACE)["metadata"]["resourceVersion"] == data


def test_an_uninstall_keeps_the_crd_and_its_jobs_and_a_new_install_takes_them_over(server: Bed) -> None:
    install(server)
    established(server)
    train(server, "kept", "team-a")
    said = uninstall(server)
    assert "[CustomResourceDefinition] trainjobs.paceline.dev" in said
    assert get(server, "trainjob", "kept", "-n", "team-a")["metadata"]["name"] == "kept"
    left = "deployment,configmap,service,serviceaccount,role,rolebinding,networkpolicy,clusterrole,clusterrolebinding"
    # Deleted in the foreground, the Deployment goes when its pods have gone.
    wait_for(
        "the end of everything else",
        lambda: get(server, left, "-A", "-l", "app.kubernetes.io/instance=paceline")["items"] == [] or None,
        timeout_s=60,
    )
    install(server)
    assert get(server, "trainjob", "kept", "-n", "team-a")["metadata"]["name"] == "kept"


def test_an_uninstall_takes_the_crd_along_when_told(server: Bed) -> None:
    install(server, {"crds": {"keep": False}})
    uninstall(server)
    # The API server deletes the jobs first, then the CRD.
    wait_for(
        "the end of the CRD",
        lambda: server.kubectl("get", "crd", CRD, "--ignore-not-found") == "" or None,
        timeout_s=CONTROLLERS_S,
    )


def test_a_cluster_wide_operator_reads_no_secret_and_a_namespaced_one_stays_at_home(server: Bed) -> None:
    install(server)
    for namespace in ("team-a", "elsewhere", NAMESPACE):
        assert can(server, "create", "pods", namespace)
        assert not any(can(server, verb, "secrets", namespace) for verb in ("get", "list", "watch"))
    assert not can(server, "create", "leases.coordination.k8s.io", "elsewhere")
    assert not can(server, "update", "trainjobs.paceline.dev", "team-a")
    assert not can(server, "create", "pods/exec", "team-a")
    install(server, {"watchNamespaces": ["team-a", "team-b"]})
    assert [can(server, "create", "pods", namespace) for namespace in ("team-a", "team-b")] == [True, True]
    assert not can(server, "create", "pods", "elsewhere")
    assert not can(server, "create", "pods", NAMESPACE)
    assert not can(server, "list", "trainjobs.paceline.dev", "elsewhere")


def test_editors_of_a_namespace_may_write_trainjobs_and_viewers_may_read_them(server: Bed) -> None:
    install(server)
    for role, user in (("edit", "editor"), ("view", "viewer")):
        server.kubectl(
            "-n", "team-b", "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", check=False
        )
    wait_for(
        "the aggregated roles",
        lambda: can(server, "create", "trainjobs.paceline.dev", "team-b", "editor") or None,
        timeout_s=CONTROLLERS_S,
    )
    assert can(server, "list", "trainjobs.paceline.dev", "team-b", "viewer")
    assert not can(server, "create", "trainjobs.paceline.dev", "team-b", "viewer")
    assert not can(server, "patch", "trainjobs.paceline.dev/status", "team-b", "editor")
    assert not can(server, "create", "trainjobs.paceline.dev", "team-a", "editor")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("wide", {}, id="cluster-wide"),
        pytest.param("narrow", {"watchNamespaces": ["team-a"]}, id="namespaced"),
    ],
)
def test_the_rights_are_enough_for_the_operator(server: Bed, tmp_path: Path, name: str, values: dict[str, Any]) -> None:
    install(server, values)
    established(server)
    # Nobody else may hold the lease: the Deployment's own pod never runs here, there is no node.
    with operator_with_the_charts_rights(server, tmp_path) as operator:
        shown = {"storage": {"path": "s3://bucket/runs"}, "tracking": {"tensorboard": {"serve": True}}}
        train(server, name, "team-a", ttlSecondsAfterFinished=0, **shown)
        pods = ("pods", "-n", "team-a", "-l", f"paceline.dev/job={name}")
        wait_for(
            "pods of the job",
            lambda: len(get(server, *pods)["items"]) == 2 or None,
            timeout_s=OPERATOR_S,
            seen=operator.log.read_text,
        )
        wait_for(
            "the TensorBoard of the job",
            lambda: get(server, "deployments", "-n", "team-a")["items"] or None,
            timeout_s=OPERATOR_S,
            seen=operator.log.read_text,
        )
        # Pods that end: the job is finished, and deleted by its TTL with all that belongs to it.
        for pod in get(server, *pods)["items"]:
            finish(server, pod)
        wait_for(
            "the end of the job",
            lambda: not get(server, "trainjobs", "-n", "team-a")["items"] or None,
            timeout_s=OPERATOR_S,
            seen=operator.log.read_text,
        )
        events = get(server, "events", "-n", "team-a", "--field-selector", "involvedObject.kind=TrainJob")["items"]
        assert events
        assert operator.refused() == []
    # Giving the lease back is its last request.
    lease = get(server, "lease", "paceline-operator", "-n", NAMESPACE)
    assert lease["spec"].get("holderIdentity", "") == ""


def finish(bed: Bed, pod: dict[str, Any]) -> None:
    """Say what a kubelet says of a pod whose container ended well."""
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}
    container = {"name": "worker", "ready": False, "restartCount": 0, "image": "i", "imageID": "i"}
    status = {"phase": "Succeeded", "containerStatuses": [container | {"state": {"terminated": ended}}]}
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    bed.kubectl(
        *("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p"),
        json.dumps({"status": status}),
    )
