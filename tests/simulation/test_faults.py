"""The operator dies after each of its writes, loses each reply, gets an error for each: the job ends as it should."""

from __future__ import annotations

import itertools

import pytest

from tests.simulation.harness import Notes, Operator, over, run, submit
from tests.support.cluster import FakeCluster, Fault, Outcome
from tests.support.trainjobs import TrainJobBuilder, make_trainjob


def succeed(attempt: int, index: int) -> Outcome:
    return "succeed"


def fail_once(attempt: int, index: int) -> Outcome:
    if attempt > 0:
        return "succeed"
    return "fail" if index == 1 else "run"


def deleted_once(attempt: int, index: int) -> Outcome:
    if attempt > 0:
        return "succeed"
    return "delete" if index == 0 else "run"


def always_fail(attempt: int, index: int) -> Outcome:
    return "fail"


def job() -> TrainJobBuilder:
    return make_trainjob().workers(3).max_restarts(2)


SCENARIOS = {
    "plain success": (succeed, "Succeeded", 0),
    "one worker fails once": (fail_once, "Succeeded", 1),
    "one pod is deleted": (deleted_once, "Succeeded", 1),
    "every attempt fails": (always_fail, "Failed", 2),
}


async def play(name: str, fault: Fault | None = None, *, seed: int = 0, max_lag: int = 0) -> tuple[FakeCluster, Notes]:
    outcome, _, _ = SCENARIOS[name]
    cluster = FakeCluster(outcome=outcome, fault=fault)
    submit(cluster, job())
    notes = await run(cluster, seed=seed, max_lag=max_lag)
    return cluster, notes


def check(cluster: FakeCluster, name: str) -> None:
    _, phase, restarts = SCENARIOS[name]
    status = cluster.job()["status"]
    assert (status["phase"], status["restarts"]) == (phase, restarts)
    assert not [pod for pod in cluster.pods() if pod["status"]["phase"] == "Running"], "a finished job holds no node"
    ended = restarts + (phase == "Failed")
    assert len(status.get("history", [])) == ended


@pytest.mark.parametrize("name", SCENARIOS)
async def test_without_faults(name: str) -> None:
    cluster, _ = await play(name)
    check(cluster, name)


async def test_a_plain_success_costs_two_status_writes_and_two_events() -> None:
    cluster, notes = await play("plain success")
    beyond = [write for write in cluster.writes if not write.endswith(("/pods", "/services"))]
    assert beyond == ["PATCH /apis/paceline.dev/v1alpha1/namespaces/ml/trainjobs/digits/status"] * 2
    assert [note.reason for note in notes.posted] == ["Running", "Succeeded"]
    made = [write.rsplit("/", 1)[1] for write in cluster.writes if write.startswith("POST")]
    assert made == ["pods", "pods", "pods", "services"], "pods need the Service only once they run"


@pytest.mark.parametrize("kind", ["crash", "lost", "error"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_any_single_write_may_go_wrong(name: str, kind: str) -> None:
    clean, _ = await play(name)
    for number in range(1, len(clean.writes) + 1):
        cluster, _ = await play(name, Fault(number, kind))
        check(cluster, name)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_watches_may_lag_behind(name: str) -> None:
    for seed in range(40):
        cluster, _ = await play(name, seed=seed, max_lag=6)
        check(cluster, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crash", "lost", "error"])
async def test_a_write_goes_wrong_while_watches_lag(kind: str) -> None:
    for number, seed in itertools.product(range(1, 20), range(5)):
        cluster, _ = await play("one worker fails once", Fault(number, kind), seed=seed, max_lag=6)
        check(cluster, "one worker fails once")


async def test_suspend_and_resume_cost_no_restart() -> None:
    def user(cluster: FakeCluster, tick: int) -> None:
        if tick == 2:
            cluster.edit_job(suspend=True)
        elif tick == 12:
            assert cluster.job()["status"]["phase"] == "Suspended"
            assert cluster.pods() == []
            cluster.edit_job(suspend=False)

    for seed, lag in ((0, 0), (1, 5), (2, 5), (3, 5)):
        cluster = FakeCluster(outcome=lambda attempt, index: "succeed" if attempt else "run")
        submit(cluster, job())
        await run(cluster, seed=seed, max_lag=lag, each_tick=user)
        status = cluster.job()["status"]
        assert (status["phase"], status["restarts"], status["attempt"]) == ("Succeeded", 0, 1)


async def test_a_pod_that_succeeded_may_be_deleted_before_the_others_end() -> None:
    released = False

    def outcome(attempt: int, index: int) -> Outcome:
        return "succeed" if index == 0 or released else "run"

    def user(cluster: FakeCluster, tick: int) -> None:
        nonlocal released
        if tick == 20:
            cluster.delete_pod("digits-0-0")
        released = tick >= 30

    for seed, lag in ((0, 0), (1, 5), (2, 5)):
        cluster = FakeCluster(outcome=outcome)
        submit(cluster, job())
        await run(cluster, seed=seed, max_lag=lag, each_tick=user)
        status = cluster.job()["status"]
        assert (status["phase"], status["restarts"], status["attempt"]) == ("Succeeded", 0, 0)
        assert status["workers"]["succeeded"] == 3


async def test_the_record_proves_it_to_an_operator_that_was_not_there() -> None:
    cluster = FakeCluster(outcome=lambda attempt, index: "succeed" if index == 0 else "run")
    submit(cluster, job())
    first = Operator(cluster, Notes(), lambda: 0)
    for _ in range(30):
        await first.look()
        cluster.tick()
    assert cluster.job()["status"]["workers"]["succeeded"] == 1
    cluster.delete_pod("digits-0-0")
    second = Operator(cluster, Notes(), lambda: 0)
    for _ in range(10):
        await second.look()
        cluster.tick()
    assert cluster.job()["status"]["attempt"] == 0
    cluster.delete_pod("digits-0-1")
    for _ in range(3):
        await second.look()
        cluster.tick()
    assert cluster.job()["status"]["attempt"] == 1, "that one had not succeeded"


async def test_a_job_made_anew_under_the_same_name_waits_for_the_old_ones_pods() -> None:
    cluster = FakeCluster(outcome=succeed)
    submit(cluster, job())
    notes = Notes()
    operator = Operator(cluster, notes, lambda: 0)
    await operator.look()
    old = cluster.objects.pop(("trainjobs", "ml", "digits"))
    cluster.log.append(("trainjobs", "DELETED", old))
    for pod in cluster.pods():
        cluster.delete_pod(pod["metadata"]["name"])
    body = job().obj().to_body()
    body["metadata"] |= {"uid": "uid-new", "generation": 1}
    cluster.put("trainjobs", body)
    await operator.look()
    assert {note.reason for note in notes.posted} >= {"NameTaken"}
    assert all(_owner(pod) == "uid-job" for pod in cluster.pods()), "pods of another job are never adopted"
    cluster.objects.pop(("services", "ml", "digits"))
    for _ in range(40):
        cluster.tick()
        operator.catch_up()
        await operator.look()
        if over(cluster):
            break
    assert cluster.job()["status"]["phase"] == "Succeeded"
    assert {_owner(pod) for pod in cluster.pods()} == {"uid-new"}


def _owner(pod: dict[str, object]) -> str:
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    owner: str = metadata["ownerReferences"][0]["uid"]
    return owner
