from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paceline.api import CheckpointStatus, Condition, Progress, TrainJobStatus, Uploads, WorkerCounts
from paceline_operator.policies import writes
from tests.support.pods import T0, at

RUNNING = TrainJobStatus(phase="Running", attempt=1)
CHECKPOINT = CheckpointStatus(path="s3://b/c", index=1)


def _condition(reason: str, type: str = "Running") -> list[Condition]:
    return [Condition(type=type, status="False", last_transition_time=T0, reason=reason)]


def _wait(old: TrainJobStatus, new: TrainJobStatus, **times: Any) -> float | None:
    found = writes.wait(
        old, new, **{"last_write": T0, "changed_since": at(2), "moved_at": at(2), "now": at(2), **times}
    )
    return None if found is None else found / timedelta(seconds=1)


def _but(**changes: Any) -> TrainJobStatus:
    return RUNNING.model_copy(update=changes)


@pytest.mark.parametrize(
    ("old", "new", "seconds"),
    [
        pytest.param(RUNNING, RUNNING, None, id="equal"),
        pytest.param(RUNNING, _but(phase="Succeeded"), 0, id="the end"),
        pytest.param(RUNNING, _but(attempt=2), 0, id="a new attempt"),
        pytest.param(RUNNING, _but(conditions=_condition("ImagePullFailed")), 0, id="a problem"),
        pytest.param(
            _but(conditions=_condition("ImagePullFailed")),
            _but(conditions=_condition("WaitingForWorkers")),
            5,
            id="a problem is over",
        ),
        pytest.param(
            RUNNING, _but(conditions=_condition("X", "CheckpointAvailable")), 5, id="a checkpoint's condition"
        ),
        pytest.param(TrainJobStatus(), TrainJobStatus(phase="Scheduling"), 5, id="on the way"),
        pytest.param(_but(phase="Restarting"), _but(phase="Starting"), 5, id="on the way again"),
        pytest.param(RUNNING, _but(phase="Starting"), 0, id="back from running"),
        pytest.param(TrainJobStatus(), TrainJobStatus(phase="Running"), 0, id="running"),
        pytest.param(RUNNING, _but(workers=WorkerCounts(desired=4)), 5, id="counts"),
        pytest.param(RUNNING, _but(checkpoint=CHECKPOINT), 0, id="a checkpoint, the last write is long ago"),
        pytest.param(RUNNING, _but(best_checkpoint=CHECKPOINT), 0, id="a best checkpoint"),
        pytest.param(RUNNING, _but(progress=Progress(step=1)), 8, id="progress"),
        pytest.param(RUNNING, _but(uploads=Uploads(pending_bytes=1)), None, id="what waits for the store, alone"),
        pytest.param(
            RUNNING,
            _but(uploads=Uploads(pending_bytes=1), progress=Progress(step=1)),
            8,
            id="what waits for the store, along with progress",
        ),
    ],
)
def test_what_is_worth_a_write_now(old: TrainJobStatus, new: TrainJobStatus, seconds: float | None) -> None:
    assert _wait(old, new) == seconds


def test_progress_waits_since_the_last_write_and_counts_since_they_changed() -> None:
    assert _wait(RUNNING, _but(progress=Progress(step=1)), now=at(11)) == 0
    assert _wait(RUNNING, _but(workers=WorkerCounts(desired=4)), changed_since=at(9), moved_at=at(10), now=at(11)) == 4


def test_after_a_restart_of_the_operator_news_is_written_at_once_and_counts_wait_from_now() -> None:
    assert _wait(RUNNING, _but(progress=Progress(step=1)), last_write=None) == 0
    assert _wait(RUNNING, _but(workers=WorkerCounts(desired=4)), changed_since=None, moved_at=None) == 5


def test_while_pods_start_one_after_the_other_the_write_waits_but_not_for_ever() -> None:
    starting = TrainJobStatus(phase="Starting", workers=WorkerCounts(desired=4, scheduled=4))
    assert _wait(TrainJobStatus(), starting, changed_since=at(0), moved_at=at(4), now=at(6)) == 3
    assert _wait(TrainJobStatus(), starting, changed_since=at(0), moved_at=at(8), now=at(9)) == 1
    assert _wait(TrainJobStatus(), starting, changed_since=at(0), moved_at=at(9.5), now=at(10)) == 0
