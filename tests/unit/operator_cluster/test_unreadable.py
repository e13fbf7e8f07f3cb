"""A TrainJob of a newer CRD than this operator's: the user is told, and nothing is done to it."""

from __future__ import annotations

from typing import Any

from tests.simulation.stage import stage
from tests.simulation.world import World

RUNS = "world nodes=1; job a pods=2 runs=1000"
KEY = "ml/a"


def conditions(world: World) -> dict[str, dict[str, Any]]:
    job = world.job("a")
    assert job is not None
    return {found["type"]: found for found in (job.get("status") or {}).get("conditions", [])}


def status(world: World) -> dict[str, Any]:
    job = world.job("a")
    assert job is not None
    found: dict[str, Any] = job.get("status") or {}
    return found


def test_it_is_told_once_in_a_condition_and_an_event_and_nothing_is_created() -> None:
    with stage(RUNS) as play:
        play.world.loop.call_later(0.0, lambda: play.world.edit("a", framework="jax"))
        world = play.after(180)
        told = conditions(world)["InvalidSpec"]
        assert (told["status"], told["reason"]) == ("True", "InvalidSpec")
        assert "spec.framework" in told["message"]
        assert "'jax'" in told["message"]
        assert "upgrade the operator" in told["message"]
        assert world.notes == [("a", "InvalidSpec")]
        assert [write for write in world.network.writes if "pods" in write or "services" in write] == []
        assert len(world.network.writes) == 2, "the condition and the event: a settled system writes nothing"
        for process in list(world.processes):
            process.kill()
        play.after(60)
        assert len(world.network.writes) == 2, "nor does an operator that was started again"


def test_a_job_that_is_edited_so_keeps_its_pods_and_its_story() -> None:
    with stage(RUNS) as play:
        world = play.after(5)
        assert status(world)["phase"] == "Running"
        world.edit("a", framework="jax")
        world.api.remove("pods", "a-0-1")
        play.after(5)
        assert set(conditions(world)) == {"Scheduled", "Running", "InvalidSpec"}
        assert status(world).get("attempt", 0) == 0, "who cannot read the job does not restart it"


def test_once_it_can_be_read_the_job_is_taken_up() -> None:
    with stage("world nodes=1; job a pods=2 runs=1000 suspended=yes") as play:
        world = play.after(1)
        world.edit("a", framework="jax", suspend=False)
        play.after(5)
        assert "InvalidSpec" in conditions(world)
        assert world.api.of("pods") == []
        world.edit("a", framework="torch")
        play.after(5)
        assert len(world.api.of("pods")) == 2
        assert "InvalidSpec" not in conditions(world)


def test_old_news_and_the_end_of_the_job() -> None:
    with stage("world nodes=1; job a pods=2 suspended=yes") as play:
        world = play.after(1)
        readable = world.job("a")
        assert readable is not None
        world.edit("a", framework="jax", suspend=False)
        play.after(1)
        operator = world.processes[0]
        operator.reconciler.take({**readable, "spec": {**readable["spec"], "suspend": False}})
        operator.queue.add(KEY)
        play.after(1)
        assert world.api.of("pods") == [], "what came late is not taken for what is"
        world.api.delete("trainjobs", "a")
        play.after(5)
        before = len(world.network.writes)
        operator.queue.add(KEY)
        play.after(5)
        assert len(world.network.writes) == before


def test_a_conflict_waits_for_what_the_watch_brings() -> None:
    with stage("world nodes=1 lag=2; job a pods=2 suspended=yes") as play:
        world = play.after(4)
        world.edit("a", framework="jax")
        play.after(1.9)
        world.edit("a", framework="mpi")
        play.after(1)
        assert "InvalidSpec" not in conditions(world), "the job has changed since it was read"
        play.after(5)
        assert "'mpi'" in conditions(world)["InvalidSpec"]["message"]


def test_the_condition_comes_though_its_first_write_is_refused() -> None:
    with stage(RUNS) as play:
        world = play.after(5)
        world.network.armed.append(("error", 0.0))
        world.edit("a", framework="jax")
        play.after(5)
        assert world.truth.counts["write error"] == 1
        assert "InvalidSpec" in conditions(world)
