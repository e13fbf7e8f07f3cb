"""The checker of the crash matrix is not blind: each variant of the protocol with one mistake is found out."""

from __future__ import annotations

import pytest

from tests.crash.pool import Pool
from tests.support.crash_case import Case, Outcome
from tests.support.crash_points import Form, Shot

_COMMIT = "create_if_absent(checkpoint_000001/.paceline.json)"
_DAMAGED = "is committed but has"


def _kill(victim: str, point: str, who: str = "lead") -> Shot:
    return Shot(who, point, victim)


# The lead freezes before its commit and goes on when the next attempt has finished.
_LATE = Shot("lead", f"{_COMMIT}.before", "lead", "stop")
# variant -> where it is hit, and what the checker must say
_CASES = {
    "uploads-told-before-they-are-stored": (
        [
            _kill("agent1", f"{_COMMIT}.after"),
            _kill("agent1", "create_if_absent(checkpoint_000000/.paceline.json).after"),
        ],
        _DAMAGED,
    ),
    "commit-file-before-the-decision": ([_LATE], _DAMAGED),
    "commit-file-in-place": (
        [_kill("lead", f"{_COMMIT}.open(.paceline.json)#2")],
        "its commit cannot be read",
    ),
    "retention-deletes-files-first": (
        [_kill("lead", "delete(checkpoint_000001/shard-0).after")],
        _DAMAGED,
    ),
    "no-fence": ([_LATE], _DAMAGED),
    "recovery-deletes-before-it-settles": (
        [_kill("lead", f"{_COMMIT}.before")],
        "get_checkpoint() gave rank 0 a damaged checkpoint",
    ),
    "report-returns-before-the-agent-owns-the-files": (
        [_kill("rank0", "report1.returned", "rank0"), _kill("rank0", "report3.returned", "rank0")],
        "had returned",  # and is not in result.json, or was never committed: as far as the slow agent had come
    ),
    "wait-returns-before-the-commit": (
        [_kill("lead", "report1.returned", "rank0"), _kill("lead", "report3.returned", "rank0")],
        "which is not committed",
    ),
}
_FORMS: dict[str, Form] = {"wait-returns-before-the-commit": "named"}


@pytest.mark.parametrize("variant", _CASES)
def test_a_broken_protocol_is_caught(variant: str, pool: Pool) -> None:
    shots, said = _CASES[variant]
    outcomes = pool.run(Case("local", (shot,), variant, _FORMS.get(variant, "")) for shot in shots)
    assert any(said in problem for outcome in outcomes for problem in outcome.problems), _told(outcomes)


def test_the_same_cases_pass_with_the_protocol_as_it_is(pool: Pool) -> None:
    cases = {
        Case("local", (shot,), form=_FORMS.get(variant, ""))
        for variant, (shots, _) in _CASES.items()
        for shot in shots
        if "#2" not in shot.point and "shard-0" not in shot.point
    }
    outcomes = pool.run(sorted(cases, key=lambda case: case.id))
    assert not [outcome for outcome in outcomes if outcome.problems], _told(outcomes)


def _told(outcomes: list[Outcome]) -> str:
    return "\n".join(f"{o.id}: reached {o.reached}: {o.problems}" for o in outcomes)
