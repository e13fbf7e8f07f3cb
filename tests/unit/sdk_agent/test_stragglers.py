"""Who comes last, and by how much, is a straggler; who comes last by chance is none."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from paceline.agent.recent import Recent
from paceline.agent.stragglers import Straggler, StragglerWatch

Late = Callable[[int, int], float]  # (round, rank) -> seconds


def watch(rounds: range, late: Late, *, ranks: int = 4, round_s: float = 2.0, into: StragglerWatch | None = None) -> (
    StragglerWatch
):  # fmt: skip
    made = into or StragglerWatch(range(ranks))
    for number in rounds:
        for rank in range(ranks):
            made.seen(rank, number, number * round_s + late(number, rank))
    return made


def rank_2(seconds: float) -> Late:
    return lambda _, rank: seconds if rank == 2 else 0.01 * rank


@pytest.mark.parametrize(
    ("late", "round_s", "rounds", "found"),
    [
        pytest.param(rank_2(1.5), 2.0, 5, Straggler(2, 1.5), id="last in each"),
        pytest.param(rank_2(1.5), 2.0, 4, None, id="too early to tell"),
        pytest.param(rank_2(0.9), 2.0, 10, None, id="less than a second"),
        pytest.param(rank_2(1.5), 10.0, 10, None, id="less than a fifth of the round"),
        pytest.param(rank_2(2.5), 10.0, 10, Straggler(2, 2.5), id="more than a fifth of the round"),
        pytest.param(lambda n, r: 1.5 * (r == n % 4), 2.0, 20, None, id="another one each time"),
        pytest.param(lambda n, r: 1.5 * (r == 2 and n % 3 < 2), 2.0, 20, None, id="in two rounds of three"),
        pytest.param(lambda n, r: 1.5 * (r == 2 and n % 9 > 0), 2.0, 20, Straggler(2, 1.5), id="in eight of nine"),
        pytest.param(lambda n, r: 9.0 * (r == 2 and n == 7), 2.0, 10, None, id="a single pause"),
    ],
)
def test_a_straggler(late: Late, round_s: float, rounds: int, found: Straggler | None) -> None:
    assert watch(range(rounds), late, round_s=round_s).straggler == found


def test_of_two_ranks_the_later_one_is_behind_the_other() -> None:
    assert watch(range(6), lambda _, rank: 1.2 * rank, ranks=2).straggler == Straggler(1, 1.2)


def test_it_ends_when_the_rank_has_caught_up_and_not_at_the_first_good_round() -> None:
    seen = watch(range(10), rank_2(1.5))
    watch(range(10, 13), rank_2(0.0), into=seen)
    assert seen.straggler == Straggler(2, 1.5)
    watch(range(13, 17), rank_2(0.0), into=seen)
    assert seen.straggler is None


def test_it_goes_on_at_a_little_less_than_what_it_began_with() -> None:
    seen = watch(range(10), rank_2(1.1))
    watch(range(10, 30), rank_2(0.7), into=seen)
    assert seen.straggler == Straggler(2, 0.7)
    watch(range(30, 50), rank_2(0.4), into=seen)
    assert seen.straggler is None


def test_ranks_that_have_ended_are_not_waited_for() -> None:
    seen = StragglerWatch(range(5))
    assert watch(range(10), rank_2(1.5), into=seen).straggler is None
    seen.ended(4)
    assert watch(range(10, 16), rank_2(1.5), into=seen).straggler == Straggler(2, 1.5)
    seen.ended(2)
    assert seen.straggler is None


def test_noise_of_equal_ranks_is_no_straggler() -> None:
    chance = random.Random(7)
    for ranks in (2, 3, 16):
        seen = StragglerWatch(range(ranks))
        found = set()
        for number in range(3000):
            watch(range(number, number + 1), lambda _, __: chance.gauss(0, 0.3), ranks=ranks, into=seen)
            found.add(seen.straggler)
        assert found == {None}


def test_the_way_here_only_delays() -> None:
    seen = StragglerWatch(range(2))
    for number in range(6):
        seen.seen(1, number, 2 * number + 5.0)  # the first beat that had it was late
        seen.seen(1, number, 2 * number + 0.1)
        seen.seen(0, number, 2 * number)
    assert seen.straggler is None


def test_rounds_of_ranks_that_never_report_take_no_memory() -> None:
    seen = StragglerWatch(range(2))
    for number in range(10_000):
        seen.seen(0, number, float(number))
    assert len(seen._open) < 100


@pytest.mark.parametrize(
    ("interval_s", "reports"),
    [pytest.param(60.0, 40, id="slow"), pytest.param(0.5, 100, id="quick"), pytest.param(0.002, 20_000, id="at once")],
)
def test_of_many_reports_a_sample_is_told_that_ranks_share(interval_s: float, reports: int) -> None:
    one, other = Recent(), Recent()
    for number in range(reports):
        one.add(number, number * interval_s)
        other.add(number, number * interval_s * 1.1)
    now = reports * interval_s * 1.1
    told = [dict(recent.seconds_ago(now)) for recent in (one, other)]
    assert all(len(known) <= 16 for known in told)
    assert len(told[0].keys() & told[1].keys()) >= 3
    assert all(known[number] == pytest.approx(now - number * interval_s) for known in told[:1] for number in known)


def test_a_pause_of_quick_reports_is_noticed_again() -> None:
    rank = Recent()
    for number in range(10_000):
        rank.add(number, number * 0.002)
    for number in range(10_000, 10_400):
        rank.add(number, 20.0 + (number - 10_000) * 5.0)
    numbers = [number for number, _ in rank.seconds_ago(3000.0)]
    assert numbers[-3:] == [10_397, 10_398, 10_399]
