"""What a run leaves in storage: ten iterations, each with metrics, a checkpoint, and a file beside it."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from paceline import train


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--pause-seconds", type=float, default=0.0)
    options = parser.parse_args()
    rank = train.get_context().get_world_rank()

    first, loss = 0, 1.0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state = json.loads(Path(folder, f"state-rank={rank}.json").read_text())
        first, loss = state["iteration"] + 1, state["loss"]

    for i in range(first, options.iterations):
        loss *= 0.8  # your training goes here
        time.sleep(options.pause_seconds)

        # An artifact: any file that is written into the working directory.
        Path(f"artifact-rank={rank}-iter={i}.txt").write_text(f"rank {rank}, iteration {i}\n")

        # Each rank gives its own part of the checkpoint; they are kept as one.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, f"state-rank={rank}.json").write_text(json.dumps({"iteration": i, "loss": loss}))
            train.report({"loss": loss, "iter": i}, checkpoint=train.Checkpoint.from_directory(folder))


if __name__ == "__main__":
    main()
