"""The TensorBoard of a run, against the small API server: made once, never in the way of training."""

from __future__ import annotations

from typing import Any

import pytest

from paceline_operator.cluster.client import ApiError
from paceline_operator.planning import Note
from tests.support.trainjobs import TrainJobBuilder, make_trainjob
from tests.unit.operator_cluster.test_podgroups import PODS, SERVICES, Operator, Server

DEPLOYMENTS = "/apis/apps/v1/namespaces/ml/deployments"
NAME = "digits-tensorboard"


def served() -> TrainJobBuilder:
    return make_trainjob().storage("s3://b").tracking(tensorboard={"serve": True})


class Heard(Operator):
    """An operator whose events are kept."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.notes: list[Note] = []
        self.reconciler._notes = self

    def post(self, job: Any, note: Note) -> None:
        self.notes.append(note)


async def test_deployment_and_service_are_made_once_after_the_pods() -> None:
    server = Server(served())
    operator = Operator(server)
    await operator.look()
    assert (server.names(DEPLOYMENTS), server.names(SERVICES)) == ([NAME], ["digits", NAME])
    made = [write for write in server.writes if write.startswith("POST")]
    assert made.index(f"POST {PODS}") < made.index(f"POST {DEPLOYMENTS}")
    owner = server.objects[f"{DEPLOYMENTS}/{NAME}"]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("TrainJob", "uid-job")
    del server.writes[:]
    server.say("digits-0-0", phase="Running")
    await operator.look()
    assert [write for write in server.writes if "tensorboard" in write or DEPLOYMENTS in write] == []


async def test_another_operator_finds_them_and_one_that_was_lost_is_made_again() -> None:
    server = Server(served())
    await Operator(server).look()
    del server.objects[f"{SERVICES}/{NAME}"]
    before = dict(server.objects[f"{DEPLOYMENTS}/{NAME}"])
    heard = Heard(server)
    await heard.look()
    assert server.names(SERVICES) == ["digits", NAME]
    assert server.objects[f"{DEPLOYMENTS}/{NAME}"] == before
    assert [note for note in heard.notes if note.type == "Warning"] == []


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        pytest.param(
            DEPLOYMENTS, ApiError(403, "Forbidden", "cannot create deployments"), "tensorboard.enabled", id="no right"
        ),
        pytest.param(SERVICES, ApiError(422, "Invalid", "no such field"), "no such field", id="refused"),
    ],
)
async def test_a_refusal_is_told_once_and_tried_again_and_training_goes_on(
    path: str, error: ApiError, says: str
) -> None:
    server = Server(served())
    server.refuse["POST", path] = error
    operator = Heard(server)
    if path == SERVICES:
        # The job's own Service is there.
        del server.refuse["POST", path]
        await operator.look()
        del server.objects[f"{SERVICES}/{NAME}"]
        server.refuse["POST", path] = error
        operator = Heard(server)
    for seconds in (0, 10, 31, 40):
        operator.seconds = seconds
        await operator.look()
    assert server.names(PODS) == ["digits-0-0"]
    assert server.status()["phase"] != "Failed"
    told = [note for note in operator.notes if note.reason == "TensorBoardUnavailable"]
    assert len(told) == 1
    assert says in told[0].message
    assert len([write for write in server.writes if write == f"POST {DEPLOYMENTS}"]) >= 2
    server.refuse.clear()
    operator.seconds = 70
    await operator.look()
    assert NAME in server.names(SERVICES)


async def test_what_belongs_to_somebody_else_is_left_alone() -> None:
    server = Server(served())
    theirs = {"metadata": {"name": NAME, "namespace": "ml", "uid": "theirs"}}
    server._store(f"{DEPLOYMENTS}/{NAME}", theirs)
    operator = Heard(server)
    await operator.look()
    (note,) = (note for note in operator.notes if note.reason == "TensorBoardUnavailable")
    assert "exists and is not this job's" in note.message
    assert server.objects[f"{DEPLOYMENTS}/{NAME}"]["metadata"]["uid"] == "theirs"
