"""Kill anybody anywhere: what was committed stays whole, what was reported is not lost, what is partial is never seen.

Every case is a real job of two pods with real processes, of which one is killed with SIGKILL (or frozen, or a message
lost) at one step of the protocol. Then the next attempt runs to its end, and one more looks. What must hold is in
tests/support/crash_checker.py; which cases there are, in tests/crash/matrix.py.
"""

from __future__ import annotations

import time

import pytest

from tests.crash.conftest import note
from tests.crash.matrix import SAMPLE
from tests.crash.pool import Pool
from tests.support import crash_agent, crash_watch
from tests.support.crash_case import Case

_MISSED_SHARE = 0.03  # a busy machine may take another order of steps
_GROUPS = ("lead", "other agent", "workers", "messages", "late comers", "second crash", "storage server",
           "two in a pod", "named and waited for")  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", _GROUPS)
def test_no_crash_loses_or_damages_a_checkpoint(group: str, pool: Pool, matrix: dict[str, list[Case]]) -> None:
    begun = time.monotonic()
    outcomes = pool.run(matrix[group])
    note(group, outcomes, time.monotonic() - begun)
    failed = [outcome for outcome in outcomes if outcome.problems]
    told = "\n".join(f"{o.id}\n    " + "\n    ".join(o.problems) for o in failed)
    assert not failed, f"{len(failed)} of {len(outcomes)} cases; replay: python -m tests.crash.replay ID\n{told}"
    missed = [outcome.id for outcome in outcomes if not outcome.reached]
    assert len(missed) <= max(1.0, _MISSED_SHARE * len(outcomes)), f"these points were not reached: {missed}"


def test_the_matrix_has_every_victim_at_every_kind_of_step(matrix: dict[str, list[Case]]) -> None:
    ids = [case.id for cases in matrix.values() for case in cases]
    assert len(set(ids)) == len(ids) >= (400 if SAMPLE else 1000)
    shots = [case.shots[-1] for cases in matrix.values() for case in cases]
    assert {shot.victim for shot in shots} == {"lead", "agent1", "rank0", "rank1", "server"}
    # The steps of docs/design/0003 leave no doubt what they are called; a renamed one must not vanish from the matrix.
    for step in (
        "report1.link(",  # hand-over
        "take(rank0)",
        "reply(rank0)",
        "beat(offer=",  # offer
        "create_if_absent(.paceline/claims/",  # claim
        "put_file(checkpoint_",  # upload
        "files(checkpoint_",  # commit: verification
        "files(.paceline/attempt)",  # the fence
        "create_if_absent(.paceline/decisions/",
        "create_if_absent(checkpoint_",
        "delete(.paceline/decisions/",  # retention
        "delete(checkpoint_",
        "delete_directory(checkpoint_",
        "delete(.paceline/claims/",
        "put_file(result.json)",
        "create_if_absent(.paceline/attempt/",  # the next attempt
    ):
        victims = {shot.victim for shot in shots if shot.point.startswith(step)}
        assert {"lead", "agent1"} <= victims, step
        assert victims & {"rank0", "rank1"} or "attempt" in step, step


def test_every_operation_of_a_store_is_a_step() -> None:
    from paceline.storage import Storage

    known = {*crash_watch.READS, *crash_watch.WRITES, *crash_watch.NO_REQUESTS}
    assert {name for name in vars(Storage) if not name.startswith("_")} - {"scheme", "exclusive"} == known


def test_every_shortened_pause_is_one_of_the_agents() -> None:
    assert not crash_agent.unknown_pauses()
