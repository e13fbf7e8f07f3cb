"""Charts as SVG files, the same bytes for the same figures and the same matplotlib."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.report_page.charts import Bars, Chart, Lines, Panel, Role, fingerprint

COLOURS: dict[Role, str] = {"ours": "#2f5fd0", "other": "#a3abb8", "second": "#e08a2c"}
INK, FAINT, AIM = "#1d2430", "#d9dde4", "#b3261e"
WIDTH_INCHES = 8.6
BAR_INCHES = 0.24
PANEL_INCHES = 1.25
ROW_CHARACTERS = 32
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Ids in the file come from its content, and text stays text: no font of this machine is in it.
    "svg.hashsalt": "paceline",
    "svg.fonttype": "none",
}


def draw(chart: Chart, folder: Path, suffix: str = "svg") -> Path:
    """Draw into a file of the folder; return it. `png` is for looking at it."""
    target = folder / f"{chart.name}.{suffix}"
    with matplotlib.rc_context(STYLE):
        figure = _bars(chart) if isinstance(chart, Bars) else _lines(chart)
        told = {"Title": chart.alt, "Description": fingerprint(chart), "Date": None, "Creator": None}
        metadata = told if suffix == "svg" else None
        figure.savefig(target, format=suffix, metadata=metadata, facecolor="white", dpi=110)
    if suffix == "svg":
        # matplotlib leaves spaces at the ends of lines, which the checks of the repository refuse.
        lines = [line.rstrip() for line in target.read_text().splitlines()]
        target.write_text("\n".join(lines) + "\n")
    return target


def _bars(chart: Bars) -> Figure:
    grid = [chart.panels[at : at + chart.columns] for at in range(0, len(chart.panels), chart.columns)]
    heights = [max(_height(panel) for panel in row) for row in grid]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.1))
    axes = figure.subplots(len(grid), chart.columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, line in zip(grid, axes, strict=True):
        for panel, axis in zip(row, line, strict=False):
            _panel(axis, panel)
        for axis in line[len(row) :]:
            axis.set_visible(False)
    return figure


def _height(panel: Panel) -> float:
    bars = len(panel.rows) * (len(panel.series) + 0.6)
    return PANEL_INCHES + BAR_INCHES * bars + (0.3 if len(panel.series) > 1 else 0.0)


def _panel(axis: Axes, panel: Panel) -> None:
    count = len(panel.series)
    thick = 0.8 / count
    known = [value for series in panel.series for value in series.values if value is not None]
    for number, series in enumerate(panel.series):
        at = [row - 0.4 + thick * (number + 0.5) for row in range(len(panel.rows))]
        widths = [value if value is not None else 0.0 for value in series.values]
        axis.barh(at, widths, height=thick * 0.92, color=_colours(panel, number))
        for row, (place, value) in enumerate(zip(at, series.values, strict=True)):
            note = f"  {panel.notes[row]}" if panel.notes and number == count - 1 else ""
            label = f"{'none' if value is None else _number(value)}{note}"
            start = (min(known) / 3 if panel.log else 0.0) if value is None else value
            axis.annotate(label, (start, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(panel.rows)), [_wrapped(row) for row in panel.rows])
    axis.set_ylim(len(panel.rows) - 0.45, -0.55)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(panel.axis)
    axis.grid(axis="x", color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    if panel.log:
        axis.set_xscale("log")
        axis.set_xlim(min(known) / 3, max(known) * 12)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1 else f"{value:,.0f}"))
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(0, max([*known, panel.aim or 0.0, 1e-9]) * (1.35 if panel.notes else 1.2))
    if panel.aim is not None:
        axis.axvline(panel.aim, color=AIM, linewidth=1, linestyle="--")
    legend = _legend(panel)
    # Room for the legend between title and bars.
    axis.set_title(panel.title, pad=24 if legend else 6)
    if legend:
        axis.legend(
            handles=legend, loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, frameon=False, borderpad=0.1,
            handlelength=1.2, columnspacing=1.4,
        )  # fmt: skip


def _colours(panel: Panel, number: int) -> list[tuple[str, float]]:
    """Return the colours of one series: by whose figures they are where the rows tell that, else by the series."""
    strength = 0.5 if panel.ours and number else 1.0
    if panel.ours:
        return [(COLOURS["ours" if ours else "other"], strength) for ours in panel.ours]
    return [(COLOURS[panel.series[number].role], strength)] * len(panel.rows)


def _legend(panel: Panel) -> list[Artist]:
    shown: list[Artist] = []
    if len(panel.series) > 1:
        for number, series in enumerate(panel.series):
            colour = (INK, 0.45 if number else 0.9) if panel.ours else (COLOURS[series.role], 1.0)
            shown.append(Patch(color=colour, label=series.name))
    if panel.aim is not None:
        shown.append(Line2D([], [], color=AIM, linewidth=1, linestyle="--", label=f"aim: at most {panel.aim:g}"))
    return shown


def _lines(chart: Lines) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, 3.2), layout="constrained")
    axis = figure.subplots()
    for series in chart.series:
        style = "--" if series.role == "second" else "-"
        shown = [float("nan") if value is None else value for value in series.values]
        axis.plot(chart.x, shown, style, color=COLOURS[series.role], linewidth=1.4, label=series.name)
    most = max(value for series in chart.series for value in series.values if value is not None)
    # From nothing on: a part of the axis would make waves of ripples.
    axis.set_ylim(0, most * 1.2)
    axis.set_xlim(left=0)
    axis.set_xlabel(chart.x_axis)
    axis.set_ylabel(chart.y_axis)
    axis.set_title(chart.title)
    axis.grid(color=FAINT, linewidth=0.6)
    axis.legend(loc="lower right", frameon=False)
    return figure


def _wrapped(row: str) -> str:
    return "\n".join(part for line in row.splitlines() for part in textwrap.wrap(line, ROW_CHARACTERS))


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"
