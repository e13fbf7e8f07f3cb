"""Nobody is judged by the time that the judge slept."""

from __future__ import annotations

import pytest

from paceline.agent.awake import Awake


@pytest.mark.parametrize(
    ("limit_s", "looks", "since"),
    [
        pytest.param(20, [0.2, 0.4, 4.9, 9.8], 0, id="looks now and then"),
        pytest.param(20, [0.2, 5.3, 5.5], 5.3, id="slept for a quarter of the limit"),
        pytest.param(20, [0.2, 60.2, 60.4, 90.0], 90.0, id="slept twice"),
        pytest.param(1, [0.2, 1.1], 0, id="a short limit: two busy cores keep one waiting for a second"),
    ],
)
def test_since_when_an_agent_is_awake(limit_s: float, looks: list[float], since: float) -> None:
    awake = Awake(limit_s, 0)
    assert [awake.since(now) for now in looks][-1] == since
