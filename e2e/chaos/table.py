"""The figures of the faults as a table, between two marks of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN = "<!-- faults: written by `python -m e2e.chaos --table`, not by hand -->"
END = "<!-- end of faults -->"
HEAD = (
    "fault", "cause in the history", "counted as", "noticed", "all new pods", "first new step", "steps lost",
    "fresh start", "torchrun: first new step",
)  # fmt: skip


def render(figures: dict[str, Any]) -> str:
    """A Markdown table; seconds from the fault."""
    beside = {row["fault"]: row for row in figures["torchrun"]}
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(_cells(row, beside.get(row['fault'])))} |" for row in figures["paceline"]]
    return "\n".join(lines)


def write(figures: dict[str, Any], page: Path) -> None:
    """Put machine and table between the marks.

    Raises:
        SystemExit: The page has no marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: add the two marks of {__name__}")
    machine = f"Machine: {figures['machine']}, which the three nodes, the control plane, the stores and the jobs share."
    page.write_text(f"{before}{begin}\n\n{machine}\n\n{render(figures)}\n\n{end}{after}")


def _cells(row: dict[str, Any], torchrun: dict[str, Any] | None) -> list[str]:
    account = "restart" if row["restarts"] else "preemption" if row["preemptions"] else "-"
    return [
        row["fault"],
        ", ".join(f"`{cause}`" for cause in row["causes"]) or "none: the job went on",
        account,
        _seconds(row["detected_s"]),
        _seconds(row["created_s"]),
        _seconds(row["first_step_s"]),
        "-" if row["lost_steps"] is None else str(row["lost_steps"]),
        _seconds(row["fresh_start_s"]),
        _torchrun(torchrun),
    ]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _torchrun(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    if row["first_step_s"] is None:
        return f"none within {row['waited_s']:.0f} s"
    return f"{row['first_step_s']:.1f} s"
