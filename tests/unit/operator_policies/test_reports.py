from __future__ import annotations

import json

import pytest

from paceline.api import Uploads
from paceline_operator.policies import reports
from tests.support.pods import T0, termination


def test_a_status_is_read() -> None:
    text = json.dumps(
        {
            "version": 1,
            "attempt": 2,
            "state": "running",
            "progress": {"step": 12, "metrics": {"loss": 0.5}, "slowestRank": 3},
            "checkpoint": {"path": "s3://b/c", "index": 4, "step": 10},
            "bestCheckpoint": {},
            "uploads": {"pendingCheckpoints": 1, "pendingBytes": 7, "waitSeconds": 0.5, "bytesPerSecond": 3.0},
            "resumedFrom": {"path": "s3://b/a", "index": 3, "step": 8},
        }
    )
    report = reports.read(text, attempt=2)
    assert report is not None
    assert report.progress is not None
    assert report.progress.step == 12
    assert report.checkpoint is not None
    assert report.checkpoint.index == 4
    assert report.best_checkpoint is None
    assert report.uploads == Uploads(pending_checkpoints=1, pending_bytes=7, wait_seconds=0.5)
    assert (report.resumed_index, report.resumed_step, report.outcome) == (3, 8, "running")


@pytest.mark.parametrize(
    "text",
    ["", "Traceback (most recent call last)", "[]", '{"version": 2}', '{"version": 1, "attempt": 1}'],
)
def test_what_is_not_the_agents_word_is_not_taken(text: str) -> None:
    assert reports.read(text, attempt=2) is None


def test_fields_that_do_not_fit_are_left_out() -> None:
    report = reports.read(
        termination(
            progress={"step": "many"},
            checkpoint={"index": 1},
            uploads={"pendingBytes": -1},
            exitCode=True,
            resumedFrom=3,
            failure={"rank": "x", "lastLines": "y", "time": "yesterday", "message": 3, "type": ""},
        )
    )
    assert report is not None
    assert (report.progress, report.checkpoint, report.uploads) == (None, None, None)
    assert (report.exit_code, report.resumed_index) == (None, None)
    assert report.failure is not None
    assert (report.failure.rank, report.failure.at, report.failure.last_lines) == (None, None, ())
    assert (report.failure.message, report.failure.type) == ("", None)


def test_an_empty_failure_is_none() -> None:
    report = reports.read(termination("succeeded", failure={}))
    assert report is not None
    assert report.failure is None


def test_times_are_rfc_3339() -> None:
    assert reports.time("2026-01-02T03:04:05Z") == T0
    assert reports.time("2026-01-02T03:04:05") is None
    assert reports.time(7) is None
