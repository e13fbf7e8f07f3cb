"""A user's mistake: status and events say what is wrong and what to do, and mending it lets the job go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2e.cluster import KubectlError
from e2e.jobs import SECRET, Object, Workspace, digits
from e2e.kube import wait_for

pytestmark = pytest.mark.cluster
# Image pulls and mounts are tried a few times by the kubelet before it says why.
TOLD_S = 60
RUN_S = 240

CASES: list[Any] = [
    # A registry that refuses connections: nodes without a way out would wait minutes for one that they cannot reach.
    pytest.param({"image": "127.0.0.1:1/paceline/no-such-image:1"}, ["no-such-image"], id="missing image"),
    pytest.param({"storage__secretRef": {"name": "absent"}}, ["absent", "Secret"], id="missing Secret"),
    pytest.param(
        {"credentials": [{"secretRef": {"name": "absent"}, "mountPath": "/etc/tracker"}]}, ["absent"],
        id="missing Secret of a file",
    ),
    pytest.param(
        {"storage": {"path": "/mnt/shared/runs", "volume": {"claimName": "absent", "mountPath": "/mnt/shared"}}},
        ["absent"], id="missing PVC",
    ),
    pytest.param({"workers__resources": {"gpu": 64}}, ["nvidia.com/gpu"], id="more GPUs than any node has"),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "told"), CASES)
def test_the_user_is_told(space: Workspace, edits: dict[str, Any], told: list[str]) -> None:
    space.submit(*digits(space, **edits))
    text = wait_for(
        f"status and events to name {told}", _says(space, "digits", told), timeout_s=TOLD_S,
        seen=lambda: space.tell("digits"),
    )  # fmt: skip
    assert space.status("digits")["phase"] != "Running"
    assert text


def test_a_wrong_s3_key_is_told_within_seconds_and_is_no_endless_restart(space: Workspace) -> None:
    space.secret("wrong", AWS_ACCESS_KEY_ID=space.s3.access_key, AWS_SECRET_ACCESS_KEY="canary-wrong-key")
    space.submit(*digits(space, storage__secretRef={"name": "wrong"}))
    space_text = wait_for(
        "status to name the refused credentials", _says(space, "digits", ["SignatureDoesNotMatch"]),
        timeout_s=90, seen=lambda: space.tell("digits"),
    )  # fmt: skip
    assert "canary-wrong-key" not in space_text
    status = space.wait_phase("digits", "Failed", timeout_s=RUN_S)
    assert status["restarts"] <= 3


def test_a_name_of_63_characters_is_refused_with_the_way_out(space: Workspace) -> None:
    with pytest.raises(KubectlError) as refused:
        space.submit(*digits(space, name="n" * 63))
    assert "50" in str(refused.value)
    assert space.pods("n" * 63) == []


def test_a_bad_manifest_is_refused_by_the_api_server_and_makes_no_pod(space: Workspace) -> None:
    with pytest.raises(KubectlError) as refused:
        space.submit(*digits(space, workers__count=3, workers__perPod=2))
    assert "perPod" in str(refused.value)
    assert space.pods("digits") == []


def test_the_job_goes_on_by_itself_when_the_secret_appears(space: Workspace) -> None:
    space.submit(*digits(space, storage__secretRef={"name": "late"}, args=["--epochs", "2"]))
    wait_for("the missing Secret to be named", _says(space, "digits", ["late"]), timeout_s=TOLD_S)
    space.secret("late", AWS_ACCESS_KEY_ID=space.s3.access_key, AWS_SECRET_ACCESS_KEY=space.s3.secret_key)
    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0
    assert SECRET != "late"


def _says(space: Workspace, name: str, told: list[str]) -> Callable[[], str | None]:
    """Whether both the conditions and the events hold every one of the words."""

    def look() -> str | None:
        conditions: list[Object] = space.status(name).get("conditions", [])
        status = " ".join(f"{c.get('reason')} {c.get('message')}" for c in conditions)
        events = " ".join(f"{e['reason']} {e['message']}" for e in space.events(name))
        return status + events if all(word in status and word in events for word in told) else None

    return look
