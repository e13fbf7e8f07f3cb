"""Credentials on real nodes: what is missing is told at once, what is there reaches the workers, and nobody else."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Bed, KubectlError
from e2e.cluster.images import OPERATOR_IMAGE
from e2e.jobs import Object, Workspace
from e2e.kube import wait_for
from e2e.stack import SYSTEM_NAMESPACE, Stack

pytestmark = pytest.mark.cluster
# After the kubelet's own first word about it: four seconds and a write, on processors that other tests share.
TOLD_S = 30
WAIT_S = 90
RUN_S = 180
GO = "/tmp/go"

# Tells how it got its keys, by what cannot be turned back, and waits to be let go.
SCRIPT = f"""
import hashlib, os, pathlib, sys, time
for name in sys.argv[2:]:
    text = pathlib.Path(name).read_text() if name.startswith("/") else os.environ[name]
    print("got", name, hashlib.sha256(text.encode()).hexdigest(), flush=True)
while sys.argv[1] != "0" and not pathlib.Path("{GO}").exists():
    time.sleep(0.2)
sys.exit(int(sys.argv[1]))
"""


def job(name: str, code: int, *wanted: str, **spec: Any) -> Object:
    """One worker that ends with `code` (other than 0: once it is let go) and needs variables and files."""
    resources = {"memory": "256Mi"}
    body = {"image": OPERATOR_IMAGE, "command": ["python3", "-c", SCRIPT], "args": [str(code), *wanted],
            "workers": {"resources": resources}, **spec}  # fmt: skip
    return {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainJob", "metadata": {"name": name}, "spec": body}


MISSING: dict[str, tuple[Object, list[str], list[str]]] = {
    "no-secret": (
        {"credentials": [{"secretRef": {"name": "absent"}}]},
        ['Secret "absent" is not in namespace', "spec.credentials[0] needs it"], ["KEY"],
    ),
    "no-file": (
        {"credentials": [{"secretRef": {"name": "absent"}, "mountPath": "/etc/tracker"}]},
        ['Secret "absent" is not in namespace', "spec.credentials[0] (mounted at /etc/tracker) needs it"],
        ["/etc/tracker/KEY"],
    ),
    "no-key": (
        {"env": [{"name": "TRACKER_KEY", "valueFrom": {"secretKeyRef": {"name": "half", "key": "KEY"}}}]},
        ['Secret "half"', 'has no key "KEY"', "spec.env TRACKER_KEY needs it"], ["TRACKER_KEY"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def space(stack: Stack, real_nodes: Bed) -> Iterator[Workspace]:
    """A namespace in which all that is missing is missing at once."""
    made = Workspace.create(stack, real_nodes.s3, f"keys-{uuid.uuid4().hex[:6]}")
    made.secret("half", OTHER="x")
    optional = {"credentials": [{"secretRef": {"name": "absent", "optional": True}}]}
    made.submit(
        *(job(name, 0, *wanted, **spec) for name, (spec, _, wanted) in MISSING.items()), job("optional", 0, **optional)
    )
    yield made
    made.delete()


def condition(space: Workspace, name: str) -> Object | None:
    found = space.status(name).get("conditions", [])
    return next((dict(c) for c in found if c["type"] == "MissingCredentials"), None)


def test_what_is_missing_is_told_within_seconds_and_once_and_the_job_goes_on_when_it_is_there(space: Workspace) -> None:
    for name, (_, says, _) in MISSING.items():
        told = wait_for(
            f"{name} to be told", lambda name=name: condition(space, name), timeout_s=WAIT_S,  # type: ignore[misc]
            seen=lambda name=name: space.tell(name),  # type: ignore[misc]
        )  # fmt: skip
        assert (told["status"], told["reason"]) == ("True", "MissingSecret")
        assert [text for text in says if text not in told["message"]] == [], told["message"]
        assert _seconds(space, name, told["lastTransitionTime"]) <= TOLD_S
    space.secret("absent", KEY="a")
    space.secret("half", OTHER="x", KEY="a")
    for name, (_, says, _) in MISSING.items():
        status = space.wait_phase(name, "Succeeded", timeout_s=RUN_S)
        assert (status["restarts"], status["attempt"]) == (0, 0)
        over = condition(space, name)
        assert over is not None
        assert over["status"] == "False"
        (event,) = [event for event in space.events(name) if event["reason"] == "MissingSecret"]
        assert (event["type"], event.get("count", 1)) == ("Warning", 1)
        assert [text for text in says if text not in event["message"]] == []


def test_a_job_starts_without_an_optional_secret(space: Workspace) -> None:
    space.wait_phase("optional", "Succeeded", timeout_s=RUN_S)
    assert condition(space, "optional") is None


def test_no_value_of_a_secret_is_anywhere_but_in_the_secret(space: Workspace, stack: Stack) -> None:
    canary = {name: f"canary-{uuid.uuid4().hex}" for name in ("variable", "file", "both", "one")}
    space.secret("variables", API_KEY=canary["variable"])
    space.secret("files", **{"config": canary["file"]})
    space.secret("both", BOTH=canary["both"])
    space.secret("one", key=canary["one"])
    wanted = ["API_KEY", "/etc/files/config", "BOTH", "/etc/both/BOTH", "ONE"]
    space.submit(
        job(
            "canary", 3, *wanted,
            credentials=[
                {"secretRef": {"name": "variables"}},
                {"secretRef": {"name": "files"}, "mountPath": "/etc/files"},
                {"secretRef": {"name": "both"}, "mountPath": "/etc/both", "asEnv": True},
            ],
            env=[{"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "one", "key": "key"}}}],
            failurePolicy={"maxRestarts": 1},
            tracking={"preflight": False},
        )
    )  # fmt: skip
    hashes = {
        name: _hash(canary[of]) for name, of in zip(wanted, ("variable", "file", "both", "both", "one"), strict=True)
    }
    assert _got(space, "canary-0-0", len(wanted)) == hashes
    while_it_runs = _everything(space, stack, "canary-0-0")
    space.kube.kubectl("exec", "canary-0-0", "-n", space.namespace, "-c", "worker", "--", "touch", GO)
    # The next attempt gets them too.
    assert _got(space, "canary-1-0", len(wanted)) == hashes
    space.kube.kubectl("exec", "canary-1-0", "-n", space.namespace, "-c", "worker", "--", "touch", GO)
    space.wait_phase("canary", "Failed", timeout_s=RUN_S)
    places = {**while_it_runs, **{f"{place} at the end": text for place, text in _everything(space, stack).items()}}
    assert {place: text for place, text in places.items() if not text.strip()} == {}, "a place could not be read"
    looked_for = [form for value in canary.values() for form in (value, base64.b64encode(value.encode()).decode())]
    assert {place for place, text in places.items() for form in looked_for if form in text} == set()
    # That it would be found.
    secrets = space.kube.kubectl("get", "secrets", "-n", space.namespace, "-o", "json")
    assert all(base64.b64encode(value.encode()).decode() in secrets for value in canary.values())


def test_a_changed_value_reaches_the_workers_of_the_next_attempt(space: Workspace) -> None:
    space.secret("rotated", API_KEY="first")
    space.submit(job("rotates", 3, "API_KEY", credentials=[{"secretRef": {"name": "rotated"}}]))
    assert _got(space, "rotates-0-0", 1) == {"API_KEY": _hash("first")}
    space.secret("rotated", API_KEY="second")
    space.kube.kubectl(
        "patch", "tj", "rotates", "-n", space.namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    space.wait_phase("rotates", "Suspended", timeout_s=RUN_S)
    space.kube.kubectl(
        "patch", "tj", "rotates", "-n", space.namespace, "--type=merge", "-p", '{"spec":{"suspend":false}}'
    )
    assert _got(space, "rotates-1-0", 1) == {"API_KEY": _hash("second")}
    assert space.status("rotates")["restarts"] == 0


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _got(space: Workspace, pod: str, count: int) -> dict[str, str]:
    """Wait until a pod's worker has told all that it got."""

    def look() -> dict[str, str] | None:
        try:
            log = space.kube.kubectl("logs", pod, "-n", space.namespace, "-c", "worker")
        except KubectlError:
            return None
        told = [line.split("got ", 1)[1].split() for line in log.splitlines() if "got " in line]
        return dict(told) if len(told) == count else None

    return wait_for(f"{pod} to tell what it got", look, timeout_s=RUN_S, seen=lambda: space.tell(pod.rsplit("-", 2)[0]))


def _seconds(space: Workspace, name: str, told: str) -> float:
    """Seconds from the kubelet's first word about a missing Secret to a time."""
    events = [
        event["firstTimestamp"]
        for event in space.kube.list("events", space.namespace)
        if event["involvedObject"]["name"] == f"{name}-0-0"
        and event["type"] == "Warning"
        and "ecret" in event["message"]
    ]
    return (datetime.fromisoformat(told) - datetime.fromisoformat(min(events))).total_seconds()


def _everything(space: Workspace, stack: Stack, running: str = "") -> dict[str, str]:
    """Whatever a person or a program can read without the right to read Secrets, by its place."""
    kubectl, here = space.kube.kubectl, space.namespace
    places = {
        "objects": kubectl("get", "trainjobs,pods,services,events,configmaps,endpointslices", "-n", here, "-o", "json"),
        "events of the cluster": kubectl("get", "events", "-A", "-o", "json"),
        "description": stack.paceline("describe", "canary", "-n", here).stdout,
        "operator's objects": kubectl("get", "pods,configmaps,leases", "-n", SYSTEM_NAMESPACE, "-o", "json"),
        # Containers are processes of this machine.
        "process titles": "\n".join(_titles()),
    }
    for pod in [pod["metadata"]["name"] for pod in space.pods("canary")]:
        places[f"log of {pod}"] = kubectl("logs", pod, "-n", here, "--all-containers")
    for pod in stack.operator_pods():
        places[f"log of {pod}"] = kubectl("logs", pod, "-n", SYSTEM_NAMESPACE)
        places[f"metrics of {pod}"] = kubectl("get", "--raw", _proxy(SYSTEM_NAMESPACE, pod, 8080, "metrics"))
    if running:
        for page in ("status", "metrics"):
            places[f"agent's {page}"] = kubectl("get", "--raw", _proxy(here, running, 8470, page))
        assert json.loads(places["agent's status"])["job"] == "canary"
        assert "paceline.agent.main" in places["process titles"]
    return places


def _proxy(namespace: str, pod: str, port: int, page: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{page}"


def _titles() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It has ended.
            yield process.read_text(errors="replace")
