"""From the figures of `benchmarks/results` to charts. Pure: what is not there has no chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import storage_table
from benchmarks.numbers import second_half, slope
from benchmarks.report_page.charts import Bars, Chart, Lines, Panel, Series, values

Figures = Mapping[str, Any]

SCRIPT, OPERATOR = "bare script of parallel POSTs", "operator"


def control_plane(figures: Figures) -> Iterator[Chart]:
    """Rate and latency of the creation of pods, beside the bare script."""
    found = [*figures["creation"], *([figures["pod_groups"]] if "pod_groups" in figures else [])]
    rows = tuple(_shape(row) for row in found)
    rate = Panel(
        "Pods created per second", "pods/s (more is better)", rows,
        (
            Series(SCRIPT, "other", values([row["bare_pods_per_s"] for row in found])),
            Series(OPERATOR, "ours", values([row["operator_pods_per_s"] for row in found])),
        ),
        tuple(f"({row['ratio']:.2f} of the script)" for row in found),
    )  # fmt: skip
    latency = Panel(
        "From a job known to its last pod made, 99th percentile of the jobs", "seconds (less is better)", rows,
        (
            Series(SCRIPT, "other", values([row["bare_p99_s"] for row in found])),
            Series(OPERATOR, "ours", values([row["operator_p99_s"] for row in found])),
        ),
        tuple(f"({row['p99_ratio']:.2f} x)" for row in found),
    )  # fmt: skip
    yield Bars("control-plane", "Pods per second and latency of the operator and a bare script", (rate, latency))


def scale(figures: Figures) -> Iterator[Chart]:
    """Size: one large job, churn, a throttled server, hours, a restart."""
    panels = []
    if "one-job" in figures:
        panels.append(_one_job(figures["one-job"]))
    if "restart" in figures:
        panels.append(_restart(figures["restart"]))
    if "throttled" in figures:
        panels.append(_throttled(figures["throttled"]))
    if panels:
        yield Bars("scale", "Times of large jobs, of a restart and with a throttled API server", tuple(panels))
    if "churn" in figures:
        yield _churn(figures["churn"])
    if "soak" in figures:
        yield _soak(figures["soak"])


def storage(figures: Figures) -> Iterator[Chart]:
    """Upload and download beside other clients: a panel for each kind of files and direction."""
    panels = []
    for workload in figures["workloads"]:
        for direction, shown in (("up", "upload"), ("down", "download")):
            found = storage_table.rows(figures, workload["name"], direction)
            panels.append(
                Panel(
                    f"{workload['name']}, {shown}",
                    "seconds (less is better)",
                    tuple(storage_table.shown(row["client"]) for row in found),
                    (Series("time", "other", values([row["seconds"] for row in found])),),
                    ours=tuple(row["client"] == storage_table.OURS for row in found),
                )
            )
    store = {"s3": "an S3 server", "gcs": "a server of Google Cloud Storage's API"}[figures["store"]]
    yield Bars(f"storage-{figures['store']}", f"Time of transfers to and from {store}, by client", tuple(panels), 2)


def report(figures: Figures) -> Iterator[Chart]:
    """What a report costs the training, on an axis of powers of ten: the difference is too large for another."""
    ours, ray = figures["paceline"], figures.get("ray") or {}
    rows, median, worst = [], [], []
    for shown, calls in (
        ("Paceline, tight loop", ours["tight"]),
        ("Paceline, every 2 ms", ours["paced"]),
        ("Ray Train, every 2 ms", ray.get("paced")),
    ):
        if calls:
            rows.append(shown)
            median.append(1e6 * calls["p50_s"])
            worst.append(1e6 * calls["p99_s"])
    metrics = Panel(
        "report(metrics)", "microseconds, each step ten times the last (less is better)", tuple(rows),
        (Series("median", "ours", values(median)), Series("99th percentile", "second", values(worst))), log=True,
        ours=tuple(name.startswith("Paceline") for name in rows),
    )  # fmt: skip
    held = [(name, side) for name, side in (("Paceline", ours), ("Ray Train", ray)) if side.get("held_s")]
    checkpoint = Panel(
        "Worker held by report() with a checkpoint of 200 MiB",
        "milliseconds, each step ten times the last (less is better)",
        tuple(name for name, _ in held),
        (
            Series("median", "ours", values([1e3 * _median(side["held_s"]) for _, side in held])),
            Series("longest", "second", values([1e3 * max(side["held_s"]) for _, side in held])),
        ),
        log=True, ours=tuple(name == "Paceline" for name, _ in held),
    )  # fmt: skip
    yield Bars("report", "Time of report() in the worker, Paceline and Ray Train", (metrics, checkpoint))


def faults(figures: Figures) -> Iterator[Chart]:
    """Each fault that ended an attempt: until it is noticed, and until training goes on."""
    found = [row for row in figures["paceline"] if row["first_step_s"] is not None]
    panel = Panel(
        "From the fault until …", "seconds (less is better)", tuple(row["fault"] for row in found),
        (
            Series("it is noticed", "ours", values([row["detected_s"] for row in found])),
            Series("the first new step", "second", values([row["first_step_s"] for row in found])),
            Series("(a fresh start)", "other", values([row["fresh_start_s"] for row in found])),
        ),
    )  # fmt: skip
    yield Bars("faults", "Seconds until a fault is noticed and until the first new training step", (panel,))


def _shape(row: Figures) -> str:
    group = "\nwith PodGroups" if row.get("gang") == "PodGroup" else ""
    return f"{row['jobs']:,} job{'s' if row['jobs'] > 1 else ''} x {row['workers']}{group}"


def _one_job(found: Figures) -> Panel:
    restart = found["restart"]
    return Panel(
        "One large job, beside the creation of as many pods by the script", "seconds (less is better)",
        (f"{found['pods']:,} pods made", f"one of {restart['pods']:,} fails,\nall made anew"),
        (
            Series(SCRIPT, "other", values([found["bare_s"], restart["bare_s"]])),
            Series(OPERATOR, "ours", values([found["operator_s"], restart["operator_s"]])),
        ),
        (f"({found['rate_ratio']:.2f} of its rate)", f"({restart['ratio']:.2f} x its time)"),
    )  # fmt: skip


def _restart(found: Figures) -> Panel:
    times = (found["ready_s"], found["acted_s"], found["calm_s"])
    return Panel(
        f"The operator is killed and started with {found['pods']:,} pods present",
        "seconds from the start of the process",
        ("ready", "a failed pod's group made anew", "all jobs looked at"),
        (Series("time", "ours", values(times)),), aim=10.0, ours=(True, True, True),
    )  # fmt: skip


def _throttled(found: Figures) -> Panel:
    slow = found["throttled"]
    return Panel(
        f"{found['jobs']} jobs x {found['workers']} pods on a throttled API server", "seconds until all pods are made",
        ("without a limit", "with few seats"),
        (Series("time", "ours", values([found["free"]["seconds"], slow["seconds"]])),),
        ("", f"({slow['throttled']:.0f} times 429)"),
        ours=(True, True),
    )  # fmt: skip


def _churn(found: Figures) -> Bars:
    rows = found["rows"]

    def of(side: str, key: str) -> tuple[float | None, ...]:
        return values([row[side][key] if side in row else None for row in rows])

    notes = tuple(
        "not tried: the script falls behind" if "operator" not in row
        else "keeps up" if row["operator"]["kept_up"] else "falls behind"
        for row in rows
    )  # fmt: skip
    lag = Panel(
        "Jobs that come, run, end and are deleted: lag of the pod, 99th percentile", "seconds (less is better)",
        tuple(f"{row['rate']} a second" for row in rows),
        (Series(SCRIPT, "other", of("bare", "p99_s")), Series(OPERATOR, "ours", of("operator", "p99_s"))),
        tuple(f"({note})" for note in notes),
    )  # fmt: skip
    return Bars("scale-churn", "Lag from a job known to its pod made, by jobs a second", (lag,))


def _soak(found: Figures) -> Lines:
    points = [(sample["s"] / 60, sample["rss_mb"]) for sample in found["samples"]]
    half = second_half(points)
    growth = slope(half)
    middle = (sum(x for x, _ in half) / len(half), sum(y for _, y in half) / len(half))
    fit = [middle[1] + growth * (x - middle[0]) if x >= half[0][0] else None for x, _ in points]
    return Lines(
        "scale-soak", "Memory of the operator over time while jobs come and go",
        f"Memory while {found['jobs_per_s']:g} jobs a second come and go ({found['jobs']:,} jobs)",
        "minutes", "resident memory, MB", tuple(x for x, _ in points),
        (
            Series("operator", "ours", values([y for _, y in points])),
            Series(f"line through the second half: {60 * growth:+.1f} MB an hour", "second", values(fit)),
        ),
    )  # fmt: skip


def _median(found: list[float]) -> float:
    ordered = sorted(found)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
