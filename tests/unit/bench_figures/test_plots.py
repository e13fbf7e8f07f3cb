from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.report_page import page, sources
from benchmarks.report_page.__main__ import FOLDER, PAGE, RESULTS, read
from benchmarks.report_page.charts import Bars, Chart, Lines, fingerprint
from benchmarks.report_page.draw import draw

WAY_OUT = "run `python -m benchmarks.report_page --write`"
DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"
SCALE = {
    "machine": "2 cores",
    "one-job": {
        "pods": 5000, "bare_s": 20.0, "operator_s": 24.0, "from_apply_s": 25.0, "rate_ratio": 0.83, "rss_mb": 140.0,
        "writes": 3, "bare_cpu_ms_a_pod": 0.5, "operator_cpu_ms_a_pod": 0.9,
        "restart": {"pods": 1000, "rounds": 3, "bare_s": 3.0, "operator_s": 3.6, "ratio": 1.2},
    },
    "churn": {
        "rows": [
            {"rate": 50, "bare": {
                "kept_up": False, "p50_s": 1.0, "p99_s": 9.0, "behind_s": 12.0, "cpu_ms_a_job": 1.0, "cores": {},
            }},
            {"rate": 35, "bare": {
                "kept_up": True, "p50_s": 0.01, "p99_s": 0.1, "behind_s": 0.0, "cpu_ms_a_job": 1.0, "cores": {},
            }, "operator": {
                "kept_up": True, "p50_s": 0.02, "p99_s": None, "behind_s": 0.2, "cpu_ms_a_job": 9.0, "cores": {},
                "longest_queue": 4, "lost": 0,
            }},
        ]
    },
    "throttled": {
        "jobs": 100, "workers": 4,
        "free": {
            "seconds": 2.0, "throttled": 0, "requests": 900, "succeeded": 100, "attempts": 0, "complaints": 0,
        },
        "throttled": {
            "seconds": 40.0, "throttled": 300, "requests": 1200, "succeeded": 100, "attempts": 0, "complaints": 2,
        },
    },
    "soak": {
        "fraction": 0.5, "minutes": 2, "jobs": 240, "jobs_per_s": 2.0, "pods_created": 500.0, "first_rss_mb": 90.0,
        "last_rss_mb": 96.0, "most_rss_mb": 97.0, "slope_mb_per_h": 60.0, "cpu": 0.05, "jobs_known_at_end": 0.0,
        "pods_known_at_end": 0.0, "samples": [{"s": 60.0 * n, "rss_mb": 90.0 + n} for n in range(7)],
    },
    "restart": {
        "pods": 10000, "jobs": 1000, "rounds": 3, "ready_s": 5.0, "acted_s": 6.0, "calm_s": 8.0, "cpu_s": 4.0,
        "rss_mb": 200.0, "worst_acted_s": 7.0,
    },
}  # fmt: skip


def test_the_page_tells_what_the_files_of_figures_say() -> None:
    assert PAGE.read_text() == page.render(read(RESULTS)), f"docs/benchmarks/plots.md is out of date: {WAY_OUT}"


def test_every_plot_is_drawn_from_the_files_of_figures() -> None:
    wanted = {chart.name: fingerprint(chart) for chart in page.charts(read(RESULTS))}
    drawn = {path.stem: _described(path) for path in FOLDER.glob("*.svg")}
    assert drawn.keys() == wanted.keys(), WAY_OUT
    old = [name for name, told in drawn.items() if told != wanted[name]]
    assert not old, f"{', '.join(old)} show other figures than benchmarks/results: {WAY_OUT}"


def test_the_page_shows_every_plot_and_tells_it_in_words() -> None:
    shown = re.findall(r"!\[(.+)\]\((.+)\.svg\)", PAGE.read_text())
    assert shown == [(chart.alt, chart.name) for chart in page.charts(read(RESULTS))]


def test_other_figures_make_another_plot() -> None:
    figures = read(RESULTS)["control_plane"]
    (before,) = sources.control_plane(figures)
    first, *rest = figures["creation"]
    (after,) = sources.control_plane({"creation": [{**first, "operator_pods_per_s": 1.0}, *rest]})
    assert fingerprint(before) != fingerprint(after)


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    (chart,) = sources.report(read(RESULTS)["report"])
    once = draw(chart, tmp_path).read_bytes()
    assert draw(chart, tmp_path).read_bytes() == once
    assert _described(tmp_path / "report.svg") == fingerprint(chart)


def test_scale_has_its_plots_and_its_words() -> None:
    charts = {chart.name: chart for chart in sources.scale(SCALE)}
    assert list(charts) == ["scale", "scale-churn", "scale-soak"]
    told = page.render({"scale": SCALE})
    for sentence in (
        "| 5,000 pods in one job | 20.0 s | 24.0 s | 0.83 of its rate | >= 0.8 |",
        "| one of 1,000 pods fails, all are made anew | 3.00 s (creation) | 3.60 s | 1.20 x its time | <= 1.3 |",
        "| 50 | bare script | no | 1.00 s / 9.00 s | 12.0 s | - | - |",
        "| 35 | operator | yes | 0.02 s / - | 0.2 s | 4 | 0 |",
        "| with few seats | 40.0 s | 300 | 1200 | 100 | 0 | 2 |",
        "grows by +60.0 MB an hour",
        "A trial at 50% of the size:",
        "10,000 pods of 1,000 jobs run",
    ):
        assert sentence in told


def test_a_rate_that_the_script_does_not_carry_is_not_the_operators() -> None:
    churn = next(chart for chart in sources.scale(SCALE) if chart.name == "scale-churn")
    assert isinstance(churn, Bars)
    (panel,) = churn.panels
    assert panel.series[1].values == (None, None)
    assert panel.notes == ("(not tried: the script falls behind)", "(keeps up)")


def test_the_line_through_the_second_half_leaves_the_start_out() -> None:
    soak = next(chart for chart in sources.scale(SCALE) if chart.name == "scale-soak")
    assert isinstance(soak, Lines)
    line, fit = soak.series
    assert line.values == (90.0, 91.0, 92.0, 93.0, 94.0, 95.0, 96.0)
    assert fit.values == (None, None, None, 93.0, 94.0, 95.0, 96.0)
    assert fit.name == "line through the second half: +60.0 MB an hour"


@pytest.mark.parametrize("chart", list(sources.scale(SCALE)), ids=lambda chart: str(chart.name))
def test_what_was_not_measured_is_drawn_too(chart: Chart, tmp_path: Path) -> None:
    assert _described(draw(chart, tmp_path)) == fingerprint(chart)


def _described(path: Path) -> str | None:
    found = ElementTree.parse(path).getroot().find(DESCRIPTION)
    return found.text if found is not None else None
