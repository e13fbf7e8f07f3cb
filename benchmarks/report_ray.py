"""Ray Train's figures for `benchmarks/report.py`; runs in an environment of its own, which has ray[train].

uv run --no-project --with 'ray[train]==2.60.0' python benchmarks/report_ray.py OUT.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main(out: str) -> None:
    """Measure and write."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # Else Ray sends the whole working directory to its workers when it was started by uv.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a busy machine takes long to start it
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    with tempfile.TemporaryDirectory() as directory:
        figures_file = str(Path(directory, "figures.json"))

        def train_loop(config: dict[str, Any]) -> None:
            import report_loop  # type: ignore[import-not-found]  # in the worker, whose path has this folder
            from ray import train

            figures = {"paced": report_loop.metrics_only(train.report, count=60, pace_s=report_loop.PACE_S)}
            held = report_loop.with_checkpoint(
                train.report, train.Checkpoint.from_directory, count=3, size_bytes=200 * 2**20, between_s=0
            )
            Path(figures_file).write_text(json.dumps({**figures, "held_s": held}))

        ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(HERE)}})
        DataParallelTrainer(
            train_loop,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(storage_path=str(Path(directory, "storage")), name="bench"),
        ).fit()
        figures = json.loads(Path(figures_file).read_text())
    program = "import time; t = time.perf_counter(); import ray.train; print(time.perf_counter() - t)"
    times = sorted(float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(5))
    Path(out).write_text(json.dumps({"version": ray.__version__, "import_s": times[2], **figures}))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
