"""The figures of `benchmarks.storage` as a table, between two marks of a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN = "<!-- {store} figures: written by `python -m benchmarks.storage --table`, not by hand -->"
END = "<!-- end of {store} figures -->"
OURS = "paceline"
# Those that the ratio is taken against; further clients only stand beside.
RIVALS = ("boto3", "s3fs", "gcsfs", "pyarrow", "aws s3 sync", "ray train")
_NAMES = {
    "boto3": "boto3 transfer",
    "pyarrow": "pyarrow.fs.copy_files",
    "ray train": "Ray Train",
    OURS: "**Paceline**",
}


def shown(client: str) -> str:
    """Return the name of a client for a reader."""
    return _NAMES.get(client, client).strip("*")


def render(figures: dict[str, Any]) -> str:
    """A Markdown table: one line for each client, workload and direction, the fastest first."""
    lines = [
        "| what | client | time, s | against the fastest other | CPU, client + server, s | memory of the client, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for workload in figures["workloads"]:
        for direction in ("up", "down"):
            found = rows(figures, workload["name"], direction)
            best = min((row["seconds"] for row in found if row["client"] in RIVALS), default=None)
            for row in found:
                ratio = f"{best / row['seconds']:.2f} x" if best else ""
                lines.append(
                    f"| {workload['name']}, {'upload' if direction == 'up' else 'download'} "
                    f"| {_NAMES.get(row['client'], row['client'])} | {row['seconds']:.2f} | {ratio} "
                    f"| {row['client_cpu_s']:.2f} + {row['server_cpu_s']:.2f} | {row['peak_mib']:.0f} |"
                )
    return "\n".join(lines)


def write(figures: dict[str, Any], page: Path) -> None:
    """Put the table between the marks.

    Raises:
        SystemExit: The page has no marks.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN.format(store=figures["store"]))
    _, end, after = rest.partition(END.format(store=figures["store"]))
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: add the two marks of {__name__}")
    page.write_text(f"{before}{begin}\n\n{render(figures)}\n\n{end}{after}")


def rows(figures: Mapping[str, Any], workload: str, direction: str) -> list[dict[str, Any]]:
    """Return a row of medians for each client, the fastest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for sample in figures["samples"]:
        if sample["workload"] == workload and sample["direction"] == direction:
            found.setdefault(sample["client"], []).append(sample)
    medians = [
        {"client": client}
        | {
            key: statistics.median(sample[key] for sample in samples)
            for key in ("seconds", "client_cpu_s", "server_cpu_s")
        }
        | {"peak_mib": max(sample["peak_mib"] for sample in samples)}
        for client, samples in found.items()
    ]
    return sorted(medians, key=lambda row: float(row["seconds"]))
