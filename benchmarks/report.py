"""What a report costs the training: Paceline beside Ray Train, in one run on one machine.

    python -m benchmarks.report [--write benchmarks/results/report.json] [--without-ray] [--large]

A real agent supervises a real worker, which times its own calls: metrics alone (at the pace of fast steps, and as fast
as the loop goes) and with a checkpoint of 200 MiB in a temporary directory, stored on the local disk. Memory is the
agent's peak (VmHWM), with the local disk and with a real S3 server as the store. `--large` adds a checkpoint of 2 GiB.
Ray Train runs the same loops from `uv run --with ray[train]==...`, in an environment that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from e2e.cluster.s3 import S3Server

ROOT = Path(__file__).resolve().parents[1]
RAY = "ray[train]==2.60.0"
SIZE_BYTES = 200 * 2**20
LARGE_BYTES = 2 * 2**30
TARGETS = {"p50_us": 20, "p99_us": 200, "held_ms": 10, "agent_mb": 300, "import_ms": 60}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="What a report costs the training, beside Ray Train.")
    parser.add_argument("--write", type=Path, help="write the figures as JSON to this file")
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--large", action="store_true", help="also one checkpoint of 2 GiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paceline-bench-") as directory:
        place = Path(directory)
        figures: dict[str, Any] = {"machine": _machine(), "paceline": _ours(place, large=options.large)}
        if not options.without_ray:
            figures["ray"] = _ray(place)
    _print(figures)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _ours(place: Path, *, large: bool) -> dict[str, Any]:
    reports, _ = _run(place / "metrics", size_bytes=0, count=0)
    local, local_mb = _run(place / "local", size_bytes=SIZE_BYTES, count=7, between_s=2)
    figures = {**reports, "held_s": local["held_s"], "agent_mb": {"200 MiB, local disk": local_mb}}
    server = S3Server.start_local(place / "s3")
    try:
        bucket = server.make_bucket("bench")
        env = {
            **{key: value for key, value in server.environment.items() if "ENDPOINT" not in key},
            "PACELINE_STORAGE_PATH": f"{bucket}/runs?endpoint_override={server.endpoint}",
        }
        s3, s3_mb = _run(place / "s3-run", size_bytes=SIZE_BYTES, count=5, between_s=2, env=env)
        figures["held_s3_s"] = s3["held_s"]
        figures["agent_mb"]["200 MiB, S3"] = s3_mb
        if large:
            figures["agent_mb"]["2 GiB, S3"] = _run(
                place / "large", size_bytes=LARGE_BYTES, count=1, between_s=5, env=env
            )[1]
    finally:
        server.stop()
    figures |= _import()
    return figures


def _run(
    directory: Path, *, size_bytes: int, count: int, between_s: float = 0, env: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], float]:
    """Figures of the worker, and the agent's peak memory in MB."""
    directory.mkdir()
    out = directory / "figures.json"
    command = [sys.executable, "-m", "benchmarks.report_ours", str(out), str(size_bytes), str(count), str(between_s)]
    full = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PACELINE_", "AWS_"))},
        "PYTHONPATH": f"{ROOT / 'sdk'}:{ROOT}",
        "PACELINE_STORAGE_PATH": str(directory / "storage"),
        "PACELINE_AGENT_HOST": "127.0.0.1",
        "PACELINE_AGENT_PORT": "0",
        "PACELINE_AGENT_DIR": str(directory / "agent"),
        "PACELINE_TERMINATION_LOG": str(directory / "termination"),
        **(env or {}),
    }
    agent = subprocess.Popen(
        [sys.executable, "-m", "paceline.agent.main", "--", *command], env=full, stderr=subprocess.DEVNULL
    )
    peak_kb = 0
    while agent.poll() is None:
        peak_kb = max(peak_kb, _peak_kb(agent.pid))
        time.sleep(0.05)
    if agent.returncode:
        raise RuntimeError(f"the agent exited {agent.returncode}: {(directory / 'termination').read_text()}")
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures, peak_kb / 1024


def _peak_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _import() -> dict[str, Any]:
    program = (
        "import sys, time; before = set(sys.modules); t = time.perf_counter(); import paceline.train\n"
        "took = time.perf_counter() - t\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(took, *sorted(new))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "sdk")}
    told = [subprocess.check_output([sys.executable, "-c", program], env=env, text=True).split() for _ in range(15)]
    return {"import_s": statistics.median(float(took) for took, *_ in told), "import_modules": told[0][1:]}


def _ray(place: Path) -> dict[str, Any]:
    out, empty = place / "ray.json", place / "empty"
    empty.mkdir()
    command = ["uv", "run", "--no-project", "--python", f"{sys.version_info.major}.{sys.version_info.minor}"]
    command += ["--with", RAY, "python", str(ROOT / "benchmarks/report_ray.py"), str(out)]
    subprocess.run(command, cwd=empty, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures


def _machine() -> dict[str, Any]:
    return {
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _print(figures: Mapping[str, Any]) -> None:
    ours, ray = figures["paceline"], figures.get("ray", {})

    def line(what: str, target: str, value: str, other: str = "") -> None:
        print(f"| {what} | {target} | {value} | {other or '-'} |")

    print("| what | target | Paceline | Ray Train |\n|---|---|---|---|")
    for kind in ("paced", "tight"):
        for part in ("p50", "p99"):
            other = f"{ray[kind][f'{part}_s'] * 1e6:,.0f} us" if kind in ray else ""
            what = f"`report(metrics)` {part}, {'every 2 ms' if kind == 'paced' else '100,000 in a tight loop'}"
            line(what, f"<= {TARGETS[f'{part}_us']} us", f"{ours[kind][f'{part}_s'] * 1e6:.1f} us", other)
    other = f"{statistics.median(ray['held_s']) * 1e3:,.0f} ms" if ray else ""
    held = statistics.median(ours["held_s"]) * 1e3
    line("worker held by 200 MiB, median", f"<= {TARGETS['held_ms']} ms", f"{held:.1f} ms", other)
    line(
        "the same, longest",
        "",
        f"{max(ours['held_s']) * 1e3:.1f} ms",
        f"{max(ray['held_s']) * 1e3:,.0f} ms" if ray else "",
    )
    for what, peak_mb in ours["agent_mb"].items():
        line(f"peak memory of the agent, {what}", f"<= {TARGETS['agent_mb']} MB", f"{peak_mb:.0f} MB")
    other = f"{ray['import_s'] * 1e3:,.0f} ms" if ray else ""
    line("import of the train module", f"<= {TARGETS['import_ms']} ms", f"{ours['import_s'] * 1e3:.0f} ms", other)


if __name__ == "__main__":
    sys.exit(main())
