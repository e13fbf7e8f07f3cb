from __future__ import annotations

from typing import Any

import pytest

from paceline.policy.retention import Candidate, Order, Retention, best, score, superfluous


def losses(*values: Any) -> list[Candidate]:
    return [Candidate(i, {} if value is None else {"loss": value}) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("given", "keep", "attribute", "order", "gone", "chosen"),
    [
        pytest.param((1, 2, 3), None, None, "max", [], None, id="without a rule all stay"),
        pytest.param((1, 2, 3, 4), 2, None, "max", [0, 1], None, id="without a score the newest stay"),
        pytest.param((1, 2), 2, None, "max", [], None, id="as many as may stay"),
        pytest.param((5, 1, 9, 2), 2, "loss", "min", [0, 2], 1, id="the lowest stay"),
        pytest.param((5, 1, 9, 2), 1, "loss", "max", [0, 1], 2, id="the best and the latest"),
        pytest.param((5, 5, 5), 1, "loss", "max", [0, 1], 2, id="of equals the newer is better"),
        pytest.param((float("nan"), 3, 4), 1, "loss", "min", [0], 1, id="NaN is worst"),
        pytest.param((None, 3, "x", True), 1, "loss", "min", [0, 2], 1, id="without a number is worst"),
        pytest.param((None, None), 1, "loss", "min", [0], None, id="nothing has a score"),
        pytest.param((1, "Infinity", 3), 1, "loss", "min", [1], 0, id="infinity as stored"),
        pytest.param((), 1, "loss", "min", [], None, id="nothing yet"),
    ],
)
def test_retention(
    given: tuple[Any, ...], keep: int | None, attribute: str | None, order: Order, gone: list[int], chosen: int | None
) -> None:
    rule = Retention(keep, attribute, order)
    assert superfluous(losses(*given), rule) == gone
    assert best(losses(*given), rule) == chosen


def test_a_score_may_lie_in_nested_metrics() -> None:
    rule = Retention(1, "val/loss")
    assert score({"val": {"loss": 2}}, rule) == 2
    assert score({"val/loss": 3}, rule) == 3
    assert score({"val": 1}, rule) is None


@pytest.mark.parametrize(("keep", "order", "said"), [(0, "max", "keep is 0"), (1, "best", "use min or max")])
def test_bad_rules_are_refused(keep: int, order: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Retention(keep, "loss", order)
