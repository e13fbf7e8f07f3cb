"""What a user's process does, in a pod: three runs from one Python, told as lines of JSON.

python fit_calls.py IMAGE STORAGE SECRET
"""

import json
import sys
import time
from typing import Any

import train as example  # type: ignore[import-not-found]  # examples/fit-on-kubernetes/train.py, beside this file

from paceline import train
from paceline.train import Result, RunConfig, ScalingConfig, TrainingFailedError
from paceline.trainer import Kubernetes, RunHandle, Trainer


def fails_on_rank_1(config: dict[str, Any]) -> None:
    """Rank 1 has a bug."""
    train.report({"loss": 1.0})
    if train.get_context().get_world_rank() == 1:
        raise ValueError(f"no column {config['column']!r}")
    time.sleep(60)


def goes_on() -> None:
    """Until somebody ends it."""
    print("still here", flush=True)
    for step in range(1_000):
        train.report({"step": step})
        time.sleep(0.5)


def start(function: Any, name: str, **arguments: Any) -> RunHandle:
    """Start a run of two workers in one pod that goes on without this process."""
    image, storage, secret = sys.argv[1:]
    handle: RunHandle = Trainer(
        function,
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.1}),
        run_config=RunConfig(name=name, storage_path=storage),
        backend=Kubernetes(image=image, storage_secret=secret, per_pod=2),
        **arguments,
    ).fit(detach=True)
    return handle


def tell(**told: Any) -> None:
    """A line for the test."""
    print(json.dumps(told), flush=True)


def main() -> None:
    """All at once, as far as they go."""
    image, storage, secret = sys.argv[1:]
    start(goes_on, "detached")
    failing = start(fails_on_rank_1, "failing", train_loop_config={"column": "label"})
    result = example.trainer(image=image, storage=storage, secret=secret, name="Line_1").fit()
    assert result.checkpoint is not None
    tell(call="fit", metrics=result.metrics, config=result.config, checkpoint=result.checkpoint.uri, rows=_rows(result))
    try:
        failing.result(timeout_s=60)
    except TrainingFailedError as error:
        kept = Result.from_path(str(error.path)).error
        assert kept is not None
        tell(call="failing", rank=error.rank, type=error.type, traceback=error.traceback, kept=[kept.rank, str(kept)])


def _rows(result: Result) -> int:
    return len(result._lines.splitlines())


if __name__ == "__main__":
    main()
