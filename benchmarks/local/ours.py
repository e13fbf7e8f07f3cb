"""Paceline's side of `benchmarks.local`; runs in the environment that has torch.

python -m benchmarks.local.ours CASE CONFIG.json OUT.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.local import training
from paceline.torch import TorchTrainer
from paceline.train import RunConfig, ScalingConfig
from paceline.trainer import Trainer


def main(case: str, config: dict[str, Any]) -> dict[str, Any]:
    """Measure one case; times in seconds."""
    run = RunConfig(storage_path=config["storage"])
    two = ScalingConfig(num_workers=2)
    if case == "digits":
        TorchTrainer(training.digits, train_loop_config=config, scaling_config=two, run_config=run).fit()
        return {}
    if case == "first step":
        return {"first_step_s": [_first_step(config, two, run) for _ in range(config["repeats"])]}
    took = []
    for _ in range(config["repeats"]):
        begun = time.perf_counter()
        Trainer(training.empty, train_loop_config={}, scaling_config=two, run_config=run).fit()
        took.append(time.perf_counter() - begun)
    return {"empty_s": took}


def _first_step(config: dict[str, Any], two: ScalingConfig, run: RunConfig) -> float:
    begun = time.time()
    TorchTrainer(training.digits, train_loop_config=config, scaling_config=two, run_config=run).fit()
    return float(Path(config["first_step"]).read_text()) - begun


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
