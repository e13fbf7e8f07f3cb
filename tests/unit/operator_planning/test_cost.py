"""What a restart has cost, as the leads of both attempts tell it: by which one the record is corrected, and to what."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.api import CheckpointStatus, FailureRecord, Progress, TrainJobStatus
from paceline_operator.planning import cost, plan
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import AgentReport
from tests.support.pods import T0, PodBuilder, all_running, at, pod, seen, termination
from tests.support.trainjobs import make_trainjob


def checkpoint(index: int, **fields: Any) -> dict[str, Any]:
    return {"path": f"s3://b/digits/checkpoint_{index:06}", "index": index, "step": 10 * index, **fields}


FOUR = CheckpointStatus(**checkpoint(4))


def lead(**told: Any) -> PodBuilder:
    """The lead of attempt 0, which has ended."""
    return pod(0).failed(1, message=termination(**told))


def restarted(resumed_from: int | None, lost: int | None, **fields: Any) -> TrainJobStatus:
    """The status after the end of attempt 0 was recorded."""
    record = FailureRecord(attempt=0, time=at(50), cause="WorkerFailed", resumed_from=resumed_from, lost_steps=lost)
    status = {"phase": "Restarting", "attempt": 1, "history": [record], "checkpoint": FOUR if resumed_from else None}
    return TrainJobStatus(**{**status, **fields})


STEP_55: dict[str, Any] = {"progress": {"step": 55}}


@pytest.mark.parametrize(
    ("status", "last", "report", "expected"),
    [
        pytest.param(restarted(4, 10), None, None, (4, 10), id="nobody knows better"),
        pytest.param(restarted(None, None), None, None, (None, None), id="nobody knows anything"),
        pytest.param(
            restarted(4, None), lead(**STEP_55, checkpoint=checkpoint(4)), None, (4, 15),
            id="it failed before it was asked for the first time",
        ),
        pytest.param(restarted(4, None), lead(**STEP_55), None, (4, 15), id="its message lacks the checkpoint"),
        pytest.param(restarted(4, 2), lead(**STEP_55, checkpoint=checkpoint(4)), None, (4, 15), id="it got further"),
        pytest.param(
            restarted(4, 10), lead(**STEP_55, checkpoint=checkpoint(5)), None, (5, 5), id="it committed one more"
        ),
        pytest.param(
            restarted(None, None), lead(**STEP_55, checkpoint=checkpoint(4)), None, (4, 15), id="it committed its first"
        ),
        pytest.param(restarted(None, None), lead(progress={"step": 7}), None, (None, 7), id="it committed none"),
        pytest.param(
            restarted(None, None), lead(progress={"step": 107}, resumedFrom={"index": 9, "step": 100}), None, (None, 7),
            id="it had begun with a checkpoint of another run",
        ),
        pytest.param(restarted(4, None), lead(), None, (4, None), id="it told of no progress"),
        pytest.param(restarted(4, 10), pod(0).failed(1, message="Killed"), None, (4, 10), id="it told nothing"),
        pytest.param(restarted(4, 10), pod(1).failed(1, message=termination(**STEP_55)), None, (4, 10), id="no lead"),
        pytest.param(
            restarted(4, None), lead(**STEP_55, checkpoint=checkpoint(4, step=None)), None, (4, None),
            id="a checkpoint without a step",
        ),
        pytest.param(
            restarted(4, None), lead(**STEP_55), AgentReport(resumed_index=5, resumed_step=50), (5, 5),
            id="the next lead tells where it began",
        ),
        pytest.param(
            restarted(4, None), lead(**STEP_55, checkpoint=checkpoint(5)),
            AgentReport(resumed_index=3, resumed_step=30), (3, 25), id="the next lead could not read the newest",
        ),
        pytest.param(
            restarted(5, 5), lead(**STEP_55, checkpoint=checkpoint(4)), AgentReport(), (5, 5),
            id="what the next lead told once stays",
        ),
        pytest.param(
            restarted(3, 25), None, AgentReport(resumed_index=5, resumed_step=50), (5, None),
            id="from which step was counted is not known any more",
        ),
        pytest.param(
            restarted(4, 10, attempt=2), lead(**STEP_55, checkpoint=checkpoint(4)),
            AgentReport(resumed_index=9, resumed_step=90), (4, 10), id="a suspension came after the restart",
        ),
    ],
)  # fmt: skip
def test_the_record_is_what_those_say_who_know(
    status: TrainJobStatus, last: PodBuilder | None, report: AgentReport | None, expected: tuple[int | None, int | None]
) -> None:
    before = [last.obj()] if last else []
    found = cost.corrected(status, before, report)
    record = found.history[-1]
    assert (record.resumed_from, record.lost_steps) == expected
    assert cost.corrected(found, before, report) == found, "the next look finds nothing to correct"


def test_a_checkpoint_that_was_committed_while_the_group_ended_is_the_jobs_newest() -> None:
    found = cost.corrected(restarted(4, 10), [lead(**STEP_55, checkpoint=checkpoint(5)).obj()], None)
    assert found.checkpoint == CheckpointStatus(**checkpoint(5))
    later = restarted(4, 10, checkpoint=CheckpointStatus(**checkpoint(8)))
    kept = cost.corrected(later, [lead(**STEP_55, checkpoint=checkpoint(5)).obj()], None)
    assert kept.checkpoint == later.checkpoint


def test_a_first_attempt_has_nothing_to_correct() -> None:
    status = TrainJobStatus(phase="Running")
    assert cost.corrected(status, [], AgentReport(resumed_index=1)) is status


def test_the_correction_is_written_with_the_next_status() -> None:
    job = make_trainjob().workers(2).obj().model_copy(update={"status": restarted(4, None)})
    ended = lead(**STEP_55, checkpoint=checkpoint(5))
    decided = plan(job, seen(*all_running(2, attempt=1), ended, service=True, changed_since=T0), at(60), JobDefaults())
    assert decided.status is not None
    assert decided.status.checkpoint is not None
    assert (decided.status.history[0].lost_steps, decided.status.checkpoint.index) == (5, 5)


@pytest.mark.parametrize(
    ("heard", "told_at", "expected"),
    [
        pytest.param(True, 40, 10, id="heard of in this attempt, by a clock that is behind"),
        pytest.param(False, 40, None, id="an earlier attempt's"),
        pytest.param(False, 55, 10, id="this attempt's, read from the record by another operator"),
        pytest.param(False, None, 10, id="nobody knows when"),
    ],
)
def test_progress_of_an_earlier_attempt_is_not_counted_as_lost(
    heard: bool, told_at: float | None, expected: int | None
) -> None:
    progress = Progress(step=50, time=None if told_at is None else at(told_at))
    status = restarted(4, 10, phase="Running", running_time=at(52), progress=progress)
    job = make_trainjob().workers(2).obj().model_copy(update={"status": status})
    report = AgentReport(progress=progress) if heard else None
    broken = seen(pod(0, attempt=1).running(), pod(1, attempt=1).failed(1), service=True, report=report)
    decided = plan(job, broken, at(60), JobDefaults())
    assert decided.status is not None
    assert [record.lost_steps for record in decided.status.history] == [10, expected]


@pytest.mark.parametrize(
    ("known", "last", "expected"),
    [
        pytest.param(FOUR, lead(**STEP_55, checkpoint=checkpoint(5)), (5, 55), id="one was committed meanwhile"),
        pytest.param(None, lead(checkpoint=checkpoint(4)), (4, None), id="it was the first"),
        pytest.param(FOUR, lead(**STEP_55, checkpoint=checkpoint(4)), None, id="it is known"),
        pytest.param(FOUR, lead(**STEP_55, checkpoint=checkpoint(3)), None, id="a newer one is known"),
        pytest.param(FOUR, lead(**STEP_55), None, id="it tells of none"),
        pytest.param(FOUR, pod(0).failed(1), None, id="no word"),
    ],
)
def test_a_job_that_has_failed_shows_what_was_committed_while_its_group_ended(
    known: CheckpointStatus | None, last: PodBuilder, expected: tuple[int, int | None] | None
) -> None:
    job = make_trainjob("digits").workers(1).status(phase="Failed", completion_time=T0, checkpoint=known).obj()
    decided = plan(job, seen(last), T0, JobDefaults())
    if expected is None:
        assert decided.status is None
        return
    assert decided.status is not None
    assert decided.status.checkpoint is not None
    step = decided.status.progress.step if decided.status.progress else None
    assert (decided.status.checkpoint.index, step) == expected
    assert (decided.status.phase, decided.status.completion_time) == ("Failed", T0)
    assert decided.events == ()
    told = job.model_copy(update={"status": decided.status})
    assert plan(told, seen(last), T0, JobDefaults()).status is None, "once"
