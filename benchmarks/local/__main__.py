"""What `fit()` costs on one machine, beside Ray Train and plain torchrun, in one run.

    python -m benchmarks.local [--write benchmarks/results/local.json] [--without-ray]

`fit()` of a function that does nothing, with two workers; the time from `fit()` to the first training step; and a whole
training on digits, process start to process end, where Paceline, torchrun and Ray Train take turns. Ray Train runs from
`uv run --with ray[train]==... --with torch==...`, in an environment that is thrown away; starting Ray is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.numbers import machine

ROOT = Path(__file__).resolve().parents[2]
TORCH = ROOT / ".venv-torch" / "bin"
RAY = "ray[train]==2.60.0"
EMPTY_TARGET_S = 1.0
SLOWER_TARGET = 1.01
_TURNS = 3


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="What fit() costs, beside Ray Train and torchrun.")
    parser.add_argument("--write", type=Path, help="write the figures as JSON to this file")
    parser.add_argument("--without-ray", action="store_true")
    options = parser.parse_args()
    if not (TORCH / "torchrun").exists():
        raise SystemExit("no environment with torch: make .venv-torch/.synced")
    version = _output([TORCH / "python", "-c", "import torch; print(torch.__version__.partition('+')[0])"]).strip()
    with tempfile.TemporaryDirectory(prefix="paceline-bench-") as directory:
        bench = _Bench(Path(directory), None if options.without_ray else version)
        figures: dict[str, Any] = {"machine": machine(), "torch": version, **bench.measure()}
    _print(figures)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


class _Bench:
    """Runs the cases of all launchers."""

    def __init__(self, place: Path, ray_torch: str | None) -> None:
        self._place = place
        uv = ["uv", "run", "--no-project", "--python", f"{sys.version_info.major}.{sys.version_info.minor}"]
        uv += ["--with", RAY, "--with", f"torch=={ray_torch}", "--with", "scikit-learn", "python"]
        self._launchers: dict[str, list[str]] = {
            "paceline": [str(TORCH / "python"), "-m", "benchmarks.local.ours"],
            "ray": [*uv, str(ROOT / "benchmarks/local/rays.py")],
        }
        if ray_torch is None:
            del self._launchers["ray"]

    def measure(self) -> dict[str, Any]:
        """All figures by launcher, in seconds."""
        told: dict[str, Any] = {name: {} for name in (*self._launchers, "torchrun")}
        short, long = {"epochs": 1, "batch_size": 32}, {"epochs": 60, "batch_size": 16}
        for case, config in (("empty", {}), ("first step", short)):
            for name in self._launchers:
                told[name] |= self._case(name, case, {**config, "repeats": _TURNS})
        told["torchrun"]["first_step_s"] = [self._torchrun(short)[1] for _ in range(_TURNS)]
        for name in told:
            told[name]["digits_s"] = []
        for turn in range(_TURNS):
            print(f"digits, turn {turn + 1} of {_TURNS}", file=sys.stderr, flush=True)
            told["torchrun"]["digits_s"].append(self._torchrun(long)[0])
            for name in self._launchers:
                begun = time.perf_counter()
                self._case(name, "digits", long)
                told[name]["digits_s"].append(time.perf_counter() - begun)
        return told

    def _case(self, name: str, case: str, config: dict[str, Any]) -> dict[str, Any]:
        out = self._place / "out.json"
        self._run([*self._launchers[name], case, str(self._config(config)), str(out)])
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    def _torchrun(self, config: dict[str, Any]) -> tuple[float, float]:
        """Seconds of the whole run, and until its first step."""
        command = [str(TORCH / "torchrun"), "--standalone", "--nproc-per-node", "2"]
        path, started, begun = self._config(config), time.time(), time.perf_counter()
        self._run([*command, str(ROOT / "benchmarks/local/training.py"), str(path)])
        took = time.perf_counter() - begun
        return took, float((self._place / "first_step").read_text()) - started

    def _config(self, config: dict[str, Any]) -> Path:
        path = self._place / "config.json"
        known = {"first_step": str(self._place / "first_step"), "storage": str(self._place / "storage")}
        path.write_text(json.dumps({**known, **config}))
        return path

    def _run(self, command: Sequence[str]) -> None:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}:{ROOT}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=self._place, env=env, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise SystemExit(
                f"{' '.join(command)} exited {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.check_output(command, text=True)


def _print(figures: dict[str, Any]) -> None:
    def median(name: str, key: str) -> float | None:
        values = figures.get(name, {}).get(key)
        return statistics.median(values) if values else None

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} s"

    print("| what | target | Paceline | torchrun | Ray Train |\n|---|---|---|---|---|")
    rows = (
        ("`fit()` of an empty function, 2 workers", f"<= {EMPTY_TARGET_S} s", "empty_s"),
        ("`fit()` to the first training step", "", "first_step_s"),
        ("digits, start to end", f"<= {SLOWER_TARGET} x torchrun", "digits_s"),
    )
    for what, target, key in rows:
        cells = [cell(median(name, key)) for name in ("paceline", "torchrun", "ray")]
        print(f"| {what} | {target} | {' | '.join(cells)} |")
    ours, other = median("paceline", "digits_s"), median("torchrun", "digits_s")
    assert ours is not None
    assert other is not None
    print(f"\ndigits: {ours / other:.3f} x torchrun", end="")
    if init := figures.get("ray", {}).get("init_s"):
        print(f"; starting Ray itself takes {init:.1f} s and is in its digits alone", end="")
    print()


if __name__ == "__main__":
    sys.exit(main())
