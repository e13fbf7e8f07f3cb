"""When is a silent process one that hangs?"""

from __future__ import annotations

import pytest

from paceline.agent.beat import RankState, State
from paceline.agent.stalls import StallWatch


def ranks(*reports: int, state: State = "running") -> list[RankState]:
    return [RankState(rank, state, reports=count) for rank, count in enumerate(reports)]


def watch(timeout_s: float = 30.0) -> StallWatch:
    """Two processes that have reported every second for five seconds."""
    made = StallWatch(timeout_s)
    for second in range(6):
        made.seen(ranks(second, second), float(second))
    return made


def test_nobody_stalls_while_all_report() -> None:
    assert watch().stalled(5.0 + 30.0) is None


def test_the_one_that_is_behind_is_named() -> None:
    made = watch()
    made.seen(ranks(6, 5), 6.0)
    found = made.stalled(36.5)
    assert found is not None
    assert (found.reason, found.rank, found.exit_code) == ("Stalled", 1, 76)
    assert found.message == "no report for 32 s (limit 30 s): rank 1 is behind, with 5 reports, others have 6"


def test_when_all_hang_at_the_same_report_the_first_to_fall_silent_is_named() -> None:
    made = watch()
    made.seen(ranks(5, 6), 6.0)
    made.seen(ranks(6, 6), 6.5)
    found = made.stalled(60.0)
    assert found is not None
    assert found.rank == 1
    assert found.message.endswith("rank 1 is behind, with 6 reports, as all")


@pytest.mark.parametrize(
    ("reports", "held", "rank", "words"),
    [
        pytest.param(
            (6, 6, 6),
            ("", "", "T"),
            2,
            "is stopped (SIGSTOP or the like), with 6 reports, as all",
            id="all wait for it",
        ),
        pytest.param((7, 6, 7), ("", "", "T"), 2, "is stopped", id="who is stopped comes before who is behind"),
        pytest.param((6, 6, 6), ("", "t", "T"), 1, "is held by a debugger", id="of two the first"),
        pytest.param(
            (6, 6, 6), ("", "", "D"), 2, "waits for a disk or a device (state D)", id="a weaker sign among equals"
        ),
        pytest.param((6, 5, 6), ("", "", "D"), 1, "is behind, with 5 reports", id="and not against the counts"),
    ],
)
def test_the_state_of_the_processes_tells_equals_apart(
    reports: tuple[int, ...], held: tuple[str, ...], rank: int, words: str
) -> None:
    made = StallWatch(30.0)
    made.seen(ranks(0, 0, 0), 0.0)
    made.seen(ranks(*reports), 2.0)
    made.seen([RankState(n, "running", reports=reports[n], held=held[n]) for n in range(3)], 20.0)
    found = made.stalled(40.0)
    assert found is not None
    assert found.rank == rank
    assert f"rank {rank} {words}" in found.message


def test_a_process_that_was_let_go_is_not_called_stopped() -> None:
    made = watch()
    made.seen([RankState(0, "running", reports=5), RankState(1, "running", reports=5, held="T")], 20.0)
    made.seen(ranks(5, 5), 21.0)
    found = made.stalled(60.0)
    assert found is not None
    assert found.rank == 0


def test_a_process_that_never_reported_is_behind_those_that_do() -> None:
    made = StallWatch(30.0)
    made.seen(ranks(0, 0, 0), 0.0)
    made.seen(ranks(1, 0, 1), 2.0)
    found = made.stalled(40.0)
    assert found is not None
    assert found.rank == 1


def test_where_rank_0_alone_reports_the_others_are_not_behind() -> None:
    made = StallWatch(30.0)
    made.seen(ranks(0, 0, 0), 0.0)
    made.seen(ranks(3, 0, 0), 2.0)
    found = made.stalled(40.0)
    assert found is not None
    assert found.rank == 0


def test_a_script_that_never_reports_never_stalls() -> None:
    made = StallWatch(30.0)
    made.seen(ranks(0, 0), 0.0)
    assert made.stalled(1e6) is None


def test_a_script_that_reports_seldom_is_given_three_times_its_longest_silence() -> None:
    made = StallWatch(30.0)
    made.seen(ranks(0), 0.0)
    made.seen(ranks(1), 100.0)  # the first epoch
    assert made.limit_s() == 300.0
    assert made.stalled(400.0) is None
    assert made.stalled(400.5) is not None


def test_the_time_in_which_the_store_has_work_does_not_count() -> None:
    made = watch()
    made.hold(6.0, held=True)
    made.hold(500.0, held=True)
    made.hold(900.0, held=False)
    assert made.stalled(905.0 + 24.0) is None
    assert made.stalled(905.0 + 26.0) is not None


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_a_process_that_has_ended_is_silent_by_right(state: State) -> None:
    made = watch()
    made.seen([*ranks(9), RankState(1, state, reports=5)], 6.0)
    for second in range(7, 100):
        made.seen(ranks(second + 3), float(second))
    assert made.stalled(100.0) is None


def test_no_limit_no_stall() -> None:
    assert watch(0.0).stalled(1e9) is None
