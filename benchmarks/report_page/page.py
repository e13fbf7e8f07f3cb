"""The page around the plots: what each shows, on which machine, and the figures of scale in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report_page import sources
from benchmarks.report_page.charts import Chart
from benchmarks.scale import churn, one_job, restart, soak, throttled

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """One file of figures, and what is said of it."""

    title: str
    file: str
    """In benchmarks/results, without suffix."""
    command: str
    text: str
    charts: Callable[[Figures], Iterator[Chart]]


SECTIONS = (
    Section(
        "Control plane",
        "control_plane",
        "python -m benchmarks.control_plane",
        "The operator makes the pods of TrainJobs; the bare script makes as many of the same pods by parallel POSTs on "
        "the same API server, which is as fast as that server goes. Numbers in brackets compare the two.",
        sources.control_plane,
    ),
    Section(
        "Scale",
        "scale",
        "python -m benchmarks.scale",
        "Thousands of pods on fake nodes of a real API server.",
        sources.scale,
    ),
    Section(
        "Storage: S3",
        "storage",
        "python -m benchmarks.storage",
        "Each client alone, in a process of its own, medians of all rounds. Server and client share the cores, and the "
        "data lies in memory.",
        sources.storage,
    ),
    Section(
        "Storage: Google Cloud Storage",
        "storage-gcs",
        "python -m benchmarks.storage --store gcs",
        "The same on a server of Google's API.",
        sources.storage,
    ),
    Section(
        "Reports",
        "report",
        "python -m benchmarks.report --large",
        "What a call of `report()` costs the training. Ray Train's is a barrier that its controller opens about once "
        "in two seconds: its own design, and the reason for an axis of powers of ten.",
        sources.report,
    ),
    Section(
        "Faults",
        "chaos",
        "python -m e2e.chaos",
        "Faults that ended an attempt of a running job on real nodes; importing PyTorch is most of the way to the "
        "first step, as it is in a fresh job. Faults that no job noticed, and what each means, stand in "
        "[What happens when …](../operations/failures.md#measured).",
        sources.faults,
    ),
)
PARTS: dict[str, Callable[[Figures], list[str]]] = {
    "one-job": one_job.render,
    "churn": churn.render,
    "throttled": throttled.render,
    "soak": soak.render,
    "restart": restart.render,
}
HEAD = """\
# Plots

<!-- written by `python -m benchmarks.report_page --write`, not by hand -->

The figures of [Benchmarks](../benchmarks.md), drawn from the files in `benchmarks/results`. Absolute figures are those
of a small machine that both sides, and what they talk to, share: ratios count.
"""


def charts(results: Mapping[str, Figures]) -> list[Chart]:
    """Return all charts of the figures that are there, by the name of their file."""
    return [c for section in SECTIONS if section.file in results for c in section.charts(results[section.file])]


def render(results: Mapping[str, Figures]) -> str:
    """Return the page."""
    told = ["\n".join(_section(section, results[section.file])) for section in SECTIONS if section.file in results]
    return "\n".join([HEAD, *told])


def _section(section: Section, figures: Figures) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    yield f"`{section.command}` on {_machine(figures)} (`benchmarks/results/{section.file}.json`). {section.text}"
    yield ""
    for chart in section.charts(figures):
        yield f"![{chart.alt}]({chart.name}.svg)"
        yield ""
    for name, lines in PARTS.items():
        if section.file == "scale" and name in figures:
            if figures[name].get("fraction", 1) < 1:
                yield f"A trial at {figures[name]['fraction']:.0%} of the size:"
                yield ""
            yield from lines(figures[name])
            yield ""


def _machine(figures: Figures) -> str:
    """Return the machine as words: each script has its own way to tell it."""
    told = figures["machine"]
    if isinstance(told, str):
        return told
    cores = told.get("cores", told.get("cpus"))
    return f"{cores} cores, {told['memory_gib']:.0f} GiB, Python {told['python']}"
