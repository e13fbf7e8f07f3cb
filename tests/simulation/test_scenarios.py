"""The operator dies after each of its writes, loses each reply, is refused each: every scenario ends as it should.

`SIMULATION_SAMPLE=TEXT` leaves out eleven twelfths of the pairs of faults and of what is merely refused, others with
every TEXT; that the operator dies, or a reply is lost, is tried at every write all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.simulation.api import owner
from tests.simulation.history import History, WriteFault
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.stage import stage
from tests.simulation.world import Played, play
from tests.support import sampling

KINDS = ("crash", "lost", "error", "gateway", "conflict", "throttle", "later", "refused")
HARD = ("crash", "lost")
SAMPLE = os.environ.get("SIMULATION_SAMPLE", "")
_ONE_OF = 12
MORE = 3
"""Writes beyond those of the clean run: a fault brings new ones."""


def check(name: str, history: History) -> Played:
    played = play(history)
    assert not played.broken, f"{played.broken}\nreplay it: python -m tests.simulation '{history}'"
    came_to = {
        job: (body["status"]["phase"], body["status"].get("restarts", 0), body["status"].get("preemptions", 0))
        for job, body in played.jobs.items()
    }
    assert came_to == SCENARIOS[name].ends, f"replay it: python -m tests.simulation '{history}'"
    return played


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_faults(name: str) -> None:
    check(name, SCENARIOS[name].history)


def chosen(name: str, *writes: WriteFault) -> bool:
    return not SAMPLE or sampling.chosen(SAMPLE, f"{name} {writes}", _ONE_OF)


def with_each_write(scenario: Scenario, kinds: tuple[str, ...]) -> Iterator[History]:
    clean = len(play(scenario.history).writes)
    for number in range(1, clean + MORE):
        for kind in kinds:
            yield replace(scenario.history, writes=(WriteFault(number, kind),))


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.small])
def test_the_operator_dies_after_any_write_or_loses_its_reply(name: str) -> None:
    for history in with_each_write(SCENARIOS[name], HARD):
        check(name, history)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    # The test above has the others.
    [(name, kind) for name, scenario in SCENARIOS.items() for kind in KINDS if not (scenario.small and kind in HARD)],
)
def test_any_write_goes_wrong(name: str, kind: str) -> None:
    for history in with_each_write(SCENARIOS[name], (kind,)):
        if kind in HARD or chosen(name, *history.writes):
            check(name, history)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.small])
def test_two_writes_go_wrong(name: str) -> None:
    scenario = SCENARIOS[name]
    clean = len(play(scenario.history).writes)
    for first in range(1, clean + 1):
        for gap in (1, 2):
            for kinds in (("crash", "crash"), ("lost", "crash"), ("crash", "lost")):
                writes = (WriteFault(first, kinds[0]), WriteFault(first + gap, kinds[1]))
                if chosen(name, *writes):
                    check(name, replace(scenario.history, writes=writes))


def test_a_plain_success_costs_two_status_writes_and_two_events() -> None:
    played = play(SCENARIOS["plain success"].history)
    made = [write for write in played.writes if write.endswith(("/pods", "/services"))]
    assert [write.rsplit("/", 1)[1] for write in made] == ["pods", "pods", "services"], "pods first"
    beyond = sorted({write: played.writes.count(write) for write in played.writes if write not in made}.items())
    assert beyond == [
        ("PATCH /apis/paceline.dev/v1alpha1/namespaces/ml/trainjobs/a/status", 2),
        ("POST /api/v1/namespaces/ml/events", 2),
    ]
    assert played.notes == [("a", "Running"), ("a", "Succeeded")]


def test_a_job_made_anew_under_the_same_name_waits_for_the_old_ones_pods() -> None:
    with stage("world nodes=1; job a pods=2; at 2 delete on=a s=0.05") as play:
        world = play.after(2.3)
        assert {owner(pod) for pod in world.api.of("pods")} == {"a-1"}
        play.after(30)
        assert ("a", "NameTaken") in world.notes
        job = world.job("a")
        assert job is not None
        assert job["status"]["phase"] == "Succeeded"
        assert {owner(pod) for pod in world.api.of("pods")} == {job["metadata"]["uid"]}, "never those of another job"


def test_the_record_proves_what_a_deleted_pod_did_to_an_operator_that_was_not_there() -> None:
    with stage("world nodes=1; job a pods=3 runs=60 spread=60; at 50 crash; at 55 unpod on=a n=2") as play:
        world = play.after(57)
        job = world.job("a")
        assert job is not None
        assert world.api.get("pods", "a-0-2") is None
        assert job["status"].get("attempt", 0) == 0
        world.api.delete("pods", "a-0-0")
        world.truth.incident(job["metadata"]["uid"], 0, 0, "PodDeleted")
        play.after(5)
        job = world.job("a")
        assert job is not None
        assert job["status"]["attempt"] == 1, "that one had not succeeded"
