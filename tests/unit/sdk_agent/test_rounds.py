from __future__ import annotations

from paceline.agent.rounds import Rounds


def pair(givers: tuple[int, ...] | None = None) -> Rounds:
    return Rounds(range(2), givers)


def test_a_round_waits_for_the_same_report_of_every_rank() -> None:
    rounds = pair()
    rounds.seen(0, 1)
    rounds.offered(0, 0, {"m": 1})
    assert rounds.decide() is None
    assert rounds.waiting_for() == (0, (1,))
    rounds.seen(1, 1)
    merge = rounds.decide()
    assert merge is not None
    assert (dict(merge.owners), merge.ranks, merge.missing) == ({"m": 0}, (0,), ())
    assert not rounds.pending


def test_of_a_name_given_twice_the_lowest_rank_wins_and_other_sizes_are_told() -> None:
    rounds = pair()
    rounds.offered(0, 1, {"same": 1, "other": 5, "b": 1})
    rounds.offered(0, 0, {"same": 1, "other": 4, "a": 1})
    rounds.seen(0, 1)
    rounds.seen(1, 1)
    merge = rounds.decide()
    assert merge is not None
    assert dict(merge.owners) == {"same": 0, "other": 0, "a": 0, "b": 1}
    assert merge.sizes["other"] == 4
    assert merge.conflicts == ("other",)


def test_rounds_are_decided_in_order_and_an_old_offer_repeated_changes_nothing() -> None:
    rounds = pair()
    rounds.offered(3, 0, {"b": 1})
    rounds.offered(1, 0, {"a": 1})
    rounds.seen(0, 4)
    rounds.seen(1, 2)
    first = rounds.decide()
    assert first is not None
    assert first.round == 1
    rounds.offered(1, 0, {"a": 1})
    assert rounds.decide() is None
    rounds.seen(1, 4)
    second = rounds.decide()
    assert second is not None
    assert second.round == 3


def test_a_rank_that_ended_well_is_not_waited_for() -> None:
    rounds = pair()
    rounds.offered(0, 0, {"m": 1})
    rounds.seen(0, 1)
    rounds.ended(1, failed=False)
    merge = rounds.decide()
    assert merge is not None
    assert merge.missing == ()


def test_a_rank_that_failed_may_have_had_files_while_nothing_is_known_of_it() -> None:
    rounds = pair()
    rounds.offered(0, 0, {"m": 1})
    rounds.seen(0, 1)
    rounds.ended(1, failed=True)
    merge = rounds.decide()
    assert merge is not None
    assert merge.missing == (1,)


def test_a_failed_rank_that_gave_nothing_last_time_is_not_missed() -> None:
    rounds = pair(givers=(0,))
    rounds.offered(0, 0, {"m": 1})
    rounds.seen(0, 1)
    rounds.ended(1, failed=True)
    merge = rounds.decide()
    assert merge is not None
    assert merge.missing == ()


def test_a_rank_that_gave_last_time_is_missed_however_it_ended() -> None:
    rounds = pair()
    for rank in (0, 1):
        rounds.offered(0, rank, {f"s{rank}": 1})
        rounds.seen(rank, 1)
    assert rounds.decide() is not None
    rounds.offered(1, 0, {"s0": 1})
    rounds.seen(0, 2)
    rounds.ended(1, failed=False)
    merge = rounds.decide()
    assert merge is not None
    assert merge.missing == (1,)
