"""Ray Train's side of `benchmarks.local`; runs in an environment of its own, which has ray[train] and torch.

python benchmarks/local/rays.py CASE CONFIG.json OUT.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main(case: str, config: dict[str, Any]) -> dict[str, Any]:
    """Measure one case; times in seconds. Starting Ray itself is told apart, for who has a cluster running."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # Else Ray sends the whole working directory to its workers when it was started by uv.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    import ray
    import training  # type: ignore[import-not-found]  # beside this file
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    begun = time.perf_counter()
    ray.init(num_cpus=3, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(HERE)}})
    told: dict[str, Any] = {"init_s": time.perf_counter() - begun, "version": ray.__version__}
    shared = {"scaling_config": ScalingConfig(num_workers=2), "run_config": RunConfig(storage_path=config["storage"])}
    if case == "digits":
        TorchTrainer(training.digits, train_loop_config=config, **shared).fit()
    elif case == "first step":
        told["first_step_s"] = []
        for _ in range(config["repeats"]):
            started = time.time()
            TorchTrainer(training.digits, train_loop_config=config, **shared).fit()
            told["first_step_s"].append(float(Path(config["first_step"]).read_text()) - started)
    else:
        told["empty_s"] = []
        for _ in range(config["repeats"]):
            begun = time.perf_counter()
            DataParallelTrainer(training.empty, train_loop_config={}, **shared).fit()
            told["empty_s"].append(time.perf_counter() - begun)
    ray.shutdown()
    return told


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
