from __future__ import annotations

from datetime import timedelta

import pytest

from paceline.cli import text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (7200, "2h"), (18_720, "5h12m"),
     (172_800, "2d"), (273_600, "3d4h"), (864_000 + 3600, "10d")],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds: int, told: str) -> None:
    assert text.duration(timedelta(seconds=seconds)) == told


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800)]
)
def test_a_timeout_is_read_as_people_write_it(written: str, seconds: float) -> None:
    assert text.parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "soon", "5x", "m5", "-3"])
def test_what_is_no_length_of_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="15m"):
        text.parse_duration(written)


def test_metrics_leave_out_where_training_is_and_round_floats() -> None:
    told = {"epoch": 3, "step": 9, "loss": 0.123456, "accuracy": 0.9, "name": "a"}
    assert text.metrics(told) == "loss=0.1235 accuracy=0.9 name=a"
    assert text.metrics(told, limit=1) == "loss=0.1235 (+2)"
