"""A user's mistake: status and events say what is wrong and what to do, and mending it lets the job go on."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e import steps
from e2e.cluster import Bed, KubectlError
from e2e.jobs import Object, Workspace, digits
from e2e.kube import wait_for
from e2e.stack import Stack

pytestmark = pytest.mark.cluster
# Image pulls and mounts are tried a few times by the kubelet before it says why.
TOLD_S = 60
RUN_S = 240
# No GPUs: jobs that wait for something hold what they have.
SMALL = {"memory": "512Mi"}
# What is wrong, and what the user reads.
MISTAKES: dict[str, tuple[Object, list[str]]] = {
    # A registry that refuses connections: nodes without a way out would wait minutes for one that they cannot reach.
    "missing-image": ({"image": "127.0.0.1:1/paceline/no-such-image:1"}, ["no-such-image"]),
    "missing-secret": ({"storage__secretRef": {"name": "absent"}}, ["absent", "Secret"]),
    "missing-secret-of-a-file": (
        {"credentials": [{"secretRef": {"name": "absent"}, "mountPath": "/etc/tracker"}]}, ["absent"],
    ),
    "missing-pvc": (
        {"storage": {"path": "/mnt/shared/runs", "volume": {"claimName": "absent", "mountPath": "/mnt/shared"}}},
        ["absent"],
    ),
    "more-gpus-than-any-node-has": ({"workers__resources": {"gpu": 64}}, ["nvidia.com/gpu"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def space(stack: Stack, real_nodes: Bed) -> Iterator[Workspace]:
    """A namespace in which all mistakes are made at once, and two more jobs beside them."""
    made = Workspace.create(stack, real_nodes.s3, f"mistakes-{uuid.uuid4().hex[:6]}")
    made.secret("wrong", AWS_ACCESS_KEY_ID=made.s3.access_key, AWS_SECRET_ACCESS_KEY="canary-wrong-key")
    jobs: dict[str, dict[str, Any]] = {
        "wrong-key": {"storage__secretRef": {"name": "wrong"}},
        **{name: edits for name, (edits, _) in MISTAKES.items()},
    }
    late = {"path": made.storage_path, "secretRef": {"name": "comes-later"}}
    small: dict[str, Any] = {"workers__resources": SMALL}
    wrong = [digits(made, name=name, **(small | edits)) for name, edits in jobs.items()]
    made.submit(steps.job(made, "late-secret", 2, storage=late), *itertools.chain(*wrong))
    yield made
    made.delete()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_user_is_told(space: Workspace, mistake: str) -> None:
    _, told = MISTAKES[mistake]
    text = wait_for(
        f"status and events to name {told}", _says(space, mistake, told), timeout_s=TOLD_S,
        seen=lambda: space.tell(mistake),
    )  # fmt: skip
    assert space.status(mistake)["phase"] != "Running"
    assert text


def test_a_wrong_s3_key_is_told_within_seconds_and_is_no_endless_restart(space: Workspace) -> None:
    space_text = wait_for(
        "status to name the refused credentials", _says(space, "wrong-key", ["SignatureDoesNotMatch"]),
        timeout_s=90, seen=lambda: space.tell("wrong-key"),
    )  # fmt: skip
    assert "canary-wrong-key" not in space_text
    status = space.wait_phase("wrong-key", "Failed", timeout_s=RUN_S)
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
    wait_for("the missing Secret to be named", _says(space, "late-secret", ["comes-later"]), timeout_s=TOLD_S)
    space.secret("comes-later", AWS_ACCESS_KEY_ID=space.s3.access_key, AWS_SECRET_ACCESS_KEY=space.s3.secret_key)
    status = space.wait_phase("late-secret", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0


def _says(space: Workspace, name: str, told: list[str]) -> Callable[[], str | None]:
    """Whether both the conditions and the events hold every one of the words."""

    def look() -> str | None:
        conditions: list[Object] = space.status(name).get("conditions", [])
        status = " ".join(f"{c.get('reason')} {c.get('message')}" for c in conditions)
        events = " ".join(f"{e['reason']} {e['message']}" for e in space.events(name))
        return status + events if all(word in status and word in events for word in told) else None

    return look
