"""A TrainJob of a newer CRD than this operator's: the user is told, and nothing is done to it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from tests.simulation.harness import KEY, Notes, Operator, submit
from tests.support.cluster import FakeCluster
from tests.support.trainjobs import make_trainjob


def newer(cluster: FakeCluster, **spec: Any) -> None:
    """Edit the job to what a newer schema allows."""
    cluster.edit_job(**spec)


def conditions(cluster: FakeCluster) -> dict[str, dict[str, Any]]:
    return {found["type"]: found for found in (cluster.job().get("status") or {}).get("conditions", [])}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster(outcome=lambda attempt, index: "run")
    submit(made, make_trainjob().workers(2))
    return made


async def test_it_is_told_once_in_a_condition_and_an_event_and_nothing_is_created(cluster: FakeCluster) -> None:
    newer(cluster, framework="jax")
    notes = Notes()
    operator = Operator(cluster, notes, lambda: 0)
    for _ in range(3):
        await operator.look()
        cluster.tick(60)
    told = conditions(cluster)["InvalidSpec"]
    assert (told["status"], told["reason"]) == ("True", "InvalidSpec")
    assert "spec.framework" in told["message"]
    assert "'jax'" in told["message"]
    assert "upgrade the operator" in told["message"]
    assert [(note.type, note.reason) for note in notes.posted] == [("Warning", "InvalidSpec")]
    assert [write for write in cluster.writes if "pods" in write or "services" in write] == []
    assert len(cluster.writes) == 1, "a settled system writes nothing"
    await Operator(cluster, Notes(), lambda: 0).look()
    assert len(cluster.writes) == 1, "nor does an operator that was started again"


async def test_a_job_that_is_edited_so_keeps_its_pods_and_its_story(cluster: FakeCluster) -> None:
    notes = Notes()
    operator = Operator(cluster, notes, lambda: 0)
    for _ in range(2):
        await operator.look()
        cluster.tick()
    await operator.look()
    assert cluster.job()["status"]["phase"] == "Running"
    newer(cluster, framework="jax")
    cluster.delete_pod("digits-0-1")
    for _ in range(3):
        await operator.look()
        cluster.tick()
    assert set(conditions(cluster)) == {"Scheduled", "Running", "InvalidSpec"}
    assert cluster.job()["status"]["attempt"] == 0, "who cannot read the job does not restart it"


async def test_once_it_can_be_read_the_job_is_taken_up(cluster: FakeCluster) -> None:
    newer(cluster, framework="jax")
    operator = Operator(cluster, Notes(), lambda: 0)
    await operator.look()
    assert "InvalidSpec" in conditions(cluster)
    newer(cluster, framework="torch")
    for _ in range(3):
        await operator.look()
        cluster.tick()
    assert len(cluster.pods()) == 2
    assert "InvalidSpec" not in conditions(cluster)


async def test_old_news_and_the_end_of_the_job(cluster: FakeCluster) -> None:
    readable = deepcopy(cluster.job())
    newer(cluster, framework="jax")
    operator = Operator(cluster, Notes(), lambda: 0)
    operator.reconciler.take(json.loads(json.dumps(readable)))
    await operator.reconciler.reconcile(KEY)
    assert cluster.pods() == [], "what came late is not taken for what is"
    operator.reconciler.gone(cluster.job())
    before = len(cluster.writes)
    await operator.reconciler.reconcile(KEY)
    assert len(cluster.writes) == before


async def test_a_conflict_waits_for_what_the_watch_brings(cluster: FakeCluster) -> None:
    newer(cluster, framework="jax")
    operator = Operator(cluster, Notes(), lambda: 0)
    newer(cluster, framework="mpi")
    assert await operator.reconciler.reconcile(KEY) is None
    assert conditions(cluster) == {}
    await operator.look()
    assert "'mpi'" in conditions(cluster)["InvalidSpec"]["message"]
