from __future__ import annotations

import pytest

from benchmarks.numbers import metric, percentile, second_half, slope

PAGE = """\
# HELP paceline_jobs TrainJobs by phase.
# TYPE paceline_jobs gauge
paceline_jobs{phase="Running"} 3.0
paceline_jobs{phase="Pending"} 2.0
paceline_jobs_straggling 7.0
paceline_api_requests_total{code="429",verb="POST"} 5.0
paceline_api_requests_total{code="201",verb="POST"} 40.0
paceline_api_requests_total{code="429",verb="PATCH"} 1.0
"""


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        pytest.param([3.0], 0.99, 3.0, id="one value"),
        pytest.param([float(n) for n in range(100)], 0.5, 50.0, id="the middle"),
        pytest.param([float(n) for n in reversed(range(100))], 0.99, 99.0, id="in any order"),
        pytest.param([1.0, 2.0], 1.0, 2.0, id="never beyond the last"),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, wanted: float) -> None:
    assert percentile(values, share) == wanted


def test_nothing_measured_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_the_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(x, 100 + 2.5 * x) for x in (0.0, 1.0, 4.0, 7.0)]) == pytest.approx(2.5)


def test_ripples_around_a_level_have_no_slope() -> None:
    assert slope([(float(x), 100 + (-1) ** x) for x in range(1001)]) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_one_moment_has_no_slope(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="measure for longer"):
        slope(points)


def test_the_second_half_is_half_of_the_time_not_of_the_points() -> None:
    assert second_half([(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (60.0, 5.0), (100.0, 6.0)]) == [(60.0, 5.0), (100.0, 6.0)]
    assert second_half([]) == []


def test_a_metric_is_the_sum_over_its_labels_and_not_over_names_that_begin_alike() -> None:
    assert metric(PAGE, "paceline_jobs") == 5
    assert metric(PAGE, "paceline_api_requests_total", code="429") == 6
    assert metric(PAGE, "paceline_api_requests_total", code="429", verb="PATCH") == 1
    assert metric(PAGE, "paceline_api_requests_total", code="500") == 0
