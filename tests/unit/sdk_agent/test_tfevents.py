from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from paceline.agent import tfevents
from tests.support.tfevents import read_events


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 3])
def test_the_sum_is_crc32c(data: bytes) -> None:
    assert tfevents.crc32c(data) == google_crc32c.value(data)


def test_the_check_value_of_the_standard() -> None:
    assert tfevents.crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("metrics", "scalars"),
    [
        pytest.param({"a": 1, "b": 0.5, "c": True}, {"a": 1, "b": 0.5, "c": 1}, id="numbers and bools"),
        pytest.param({"a": {"b": {"c": 1}}}, {"a/b/c": 1}, id="nested"),
        pytest.param({"a": "text", "b": [1], "c": None}, {}, id="nothing to draw"),
        pytest.param(
            {"a": "Infinity", "b": 10**400, "c": -1e300}, {"a": math.inf, "b": math.inf, "c": -math.inf}, id="large"
        ),
    ],
)
def test_which_metrics_become_scalars(metrics: dict[str, Any], scalars: dict[str, float]) -> None:
    assert dict(tfevents.scalars(metrics)) == scalars


def test_nan_stays_nan() -> None:
    assert math.isnan(dict(tfevents.scalars({"a": "NaN"}))["a"])


def test_a_file_reads_back_with_an_independent_parser(tmp_path: Path) -> None:
    path = tmp_path / tfevents.file_name(1_700_000_000.5, "host")
    events = [tfevents.event(1.5, step, [("loss", step / 2), ("äcc", 1.0)]) for step in (1, 300, 2**40)]
    path.write_bytes(tfevents.header(1.0) + b"".join(events))
    assert path.name == "events.out.tfevents.1700000000.host"
    assert read_events(path) == [(step, {"loss": step / 2, "äcc": 1.0}) for step in (1, 300, 2**40)]


def test_a_report_without_numbers_leaves_no_event() -> None:
    assert tfevents.event(0, 1, []) == b""
