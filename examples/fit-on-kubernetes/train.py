"""Fit a straight line, here or on a cluster: the same function, the same result.

python train.py                                                          on this machine, 2 processes
python train.py --image team/train:1 --storage s3://bucket/runs --secret s3-keys    on Kubernetes, 2 pods
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

from paceline import train
from paceline.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from paceline.trainer import Kubernetes, Trainer

TRUE_SLOPE, TRUE_OFFSET = 3.0, 2.0


def fit_line(config):
    """Every worker fits its own sample; rank 0's figures are the run's, and a restart goes on from its checkpoint."""
    rank = train.get_context().get_world_rank()
    sample = random.Random(rank)
    points = [(x, TRUE_SLOPE * x + TRUE_OFFSET + sample.gauss(0, 0.1)) for x in (sample.random() for _ in range(200))]
    slope, offset, first_epoch = 0.0, 0.0, 0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state = json.loads(Path(folder, "state.json").read_text())
        slope, offset, first_epoch = state["slope"], state["offset"], state["epoch"] + 1

    for epoch in range(first_epoch, config["epochs"]):
        for x, y in points:
            error = slope * x + offset - y
            slope -= config["lr"] * error * x
            offset -= config["lr"] * error
        loss = sum((slope * x + offset - y) ** 2 for x, y in points) / len(points)
        metrics = {"step": epoch + 1, "loss": loss, "slope": slope}
        if rank == 0:
            print(f"epoch {epoch}: loss {loss:.4f}, slope {slope:.2f}")
            with tempfile.TemporaryDirectory() as folder:
                state = {"slope": slope, "offset": offset, "epoch": epoch}
                Path(folder, "state.json").write_text(json.dumps(state))
                train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))
        else:
            train.report(metrics)


def trainer(image=None, namespace=None, storage=None, secret=None, name=None, epochs=5):
    """The same trainer for both places: `backend` is all that differs."""
    cluster = None
    if image:
        cluster = Kubernetes(image=image, namespace=namespace, storage_secret=secret)
    return Trainer(
        fit_line,
        train_loop_config={"lr": 0.1, "epochs": epochs},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.2}, placement_strategy="SPREAD"),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        backend=cluster,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", help="run on Kubernetes, in this image; its Python has the version of this one")
    parser.add_argument("--namespace", help="default: the kubeconfig's")
    parser.add_argument("--storage", help="s3://bucket/path, gs://..., hdfs://..., or a path on this machine")
    parser.add_argument("--secret", help="Secret with the keys to the storage")
    parser.add_argument("--name", help="name of the run; the same name again goes on from its last checkpoint")
    arguments = parser.parse_args()
    result = trainer(**vars(arguments)).fit()
    print("slope", round(result.metrics["slope"], 1), "in", result.path)
