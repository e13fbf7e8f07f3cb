from paceline.agent import story
from paceline.agent.commits import Commit
from paceline.agent.reports import Report
from paceline.policy.retention import Retention

COMMIT = Commit(3, 0, 40, "2026-01-02T03:04:05Z", {"loss": 0.5}, 1, {}, (0,))


def test_an_attempt_that_has_not_reported_yet_is_where_its_checkpoint_was() -> None:
    told = story.tell(None, [], [COMMIT], COMMIT, Retention())
    assert told["progress"] == {"step": 40, "metrics": {"loss": 0.5}, "time": COMMIT.time, "slowestRank": None}


def test_a_report_is_newer_than_the_checkpoint() -> None:
    told = story.tell(Report({"loss": 0.4}, 41, 0.0, 9), [], [COMMIT], COMMIT, Retention())
    assert (told["progress"]["step"], told["progress"]["metrics"]) == (41, {"loss": 0.4})


def test_the_checkpoint_of_another_run_is_no_progress_of_this_one() -> None:
    assert "progress" not in story.tell(None, [], [], COMMIT, Retention())
