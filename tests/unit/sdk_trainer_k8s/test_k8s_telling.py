"""What `fit()` says about a job while it goes on: each thing once, steps not too often."""

from __future__ import annotations

from typing import Any

from paceline.trainer.cluster import telling
from tests.support.cli_objects import CHECKPOINT, condition, job

SCHEDULED = condition("Scheduled", "True", "AllWorkersScheduled")
WORKERS = {"desired": 4, "running": 4}


def said(*looks: tuple[float, dict[str, Any]]) -> list[list[str]]:
    told = telling.Told(begun_at=0.0)
    all_lines = []
    for at, status in looks:
        lines, told = telling.news(job(**status), told, at)
        all_lines.append(lines)
    return all_lines


def test_phases_steps_and_checkpoints() -> None:
    running: dict[str, Any] = {"phase": "Running", "workers": WORKERS, "conditions": [SCHEDULED]}
    step = {"progress": {"step": 40, "metrics": {"loss": 0.312345}}}
    later = {"progress": {"step": 41, "metrics": {"loss": 0.3}}}
    assert said(
        (1, {"phase": "Scheduling", "conditions": [condition("Scheduled", "False", "WaitingForNodes")]}),
        (2, running),
        (3, running | step),
        (4, running | later),
        (5, running | later | {"checkpoint": CHECKPOINT}),
        (6, running | later | {"checkpoint": CHECKPOINT}),
        (30, running | {"checkpoint": CHECKPOINT, "progress": {"step": 90}}),
        (31, running | {"checkpoint": CHECKPOINT, "phase": "Succeeded", "progress": {"step": 91}}),
    ) == [
        ["Scheduling, workers 0/4"],
        ["Running, workers 4/4"],
        ["step 40 loss=0.3123"],
        [],
        ["step 41 loss=0.3, checkpoint 7 (step 168)"],
        [],
        ["step 90"],
        ["step 91"],
    ]


def test_what_hinders_the_job_is_told_once_with_the_way_out() -> None:
    waits = condition("Scheduled", "False", "Unschedulable", "0/3 nodes are available: insufficient nvidia.com/gpu")
    first, second = said(
        (1, {"phase": "Scheduling", "conditions": [waits]}), (2, {"phase": "Scheduling", "conditions": [waits]})
    )
    assert first[1] == "Unschedulable: 0/3 nodes are available: insufficient nvidia.com/gpu"
    assert first[2].startswith("  -> No node has room")
    assert second == []


def test_a_restart_tells_who_failed_and_where_it_goes_on() -> None:
    record = {
        "attempt": 0, "time": "2026-01-02T03:05:00Z", "cause": "WorkerFailed", "rank": 3, "node": "node-1",
        "message": "Traceback\nValueError: loss is nan", "resumedFrom": 7,
    }  # fmt: skip
    before: dict[str, Any] = {"phase": "Running", "conditions": [SCHEDULED]}
    after = {"phase": "Restarting", "attempt": 1, "restarts": 1, "conditions": [SCHEDULED], "history": [record]}
    assert said((1, before), (2, after))[1] == [
        "attempt 0 ended: WorkerFailed rank 3 on node-1: ValueError: loss is nan",
        "attempt 1 goes on from checkpoint 7 (1 restarts)",
        "Restarting, workers 0/4",
    ]


def test_a_job_that_no_operator_looks_at_is_told_once() -> None:
    early, late, later = said((1, {}), (16, {}), (17, {}))
    assert early == []
    assert later == []
    assert late == ["no operator has looked at this job yet: does it run, and does it watch namespace 'ml'?"]
