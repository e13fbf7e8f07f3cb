"""Train a small Keras network on handwritten digits, on any number of workers.

    python train.py --workers 2     here, with two worker processes
    python train.py                 as a TrainJob (trainjob.yaml), or alone

After a restart it goes on from its last committed checkpoint.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before the import of TensorFlow. Keras 3 cannot run `fit` under MultiWorkerMirroredStrategy; tf-keras can.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf

from paceline import train
from paceline.tensorflow.keras import ReportCheckpointCallback

Arrays = tuple[np.ndarray, np.ndarray]


def train_fn(config: dict[str, Any]) -> None:
    """What every worker runs."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # finds the other workers by TF_CONFIG
    context = train.get_context()
    global_batch = config["batch_size"] * context.get_world_size()
    training, validation = load_data(config["data"])

    model, first_epoch = resume(strategy) or (build_model(strategy, config["lr"]), 0)
    model.fit(
        batches(training, global_batch, shuffle=True),
        validation_data=batches(validation, global_batch),
        initial_epoch=first_epoch,
        epochs=config["epochs"],
        callbacks=[
            ReportCheckpointCallback(),
            tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: time.sleep(config["pause_seconds"])),
        ],
        verbose=2 if context.get_world_rank() == 0 else 0,
    )


def build_model(strategy: tf.distribute.Strategy, lr: float) -> tf.keras.Model:
    with strategy.scope():
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu", input_shape=(64,)),
                tf.keras.layers.Dropout(0.1),
                tf.keras.layers.Dense(10),
            ]
        )
        model.compile(
            optimizer=tf.keras.optimizers.Adam(lr),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    return model


def resume(strategy: tf.distribute.Strategy) -> tuple[tf.keras.Model, int] | None:
    """Load the latest committed checkpoint, if there is one: the model with its optimizer, and the epochs so far."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return None
    epochs = checkpoint.get_metadata()["epoch"]
    with checkpoint.as_directory() as folder, strategy.scope():
        model = tf.keras.models.load_model(Path(folder, "model.keras"))
    print(f"rank {train.get_context().get_world_rank()} resumes after epoch {epochs}", flush=True)
    return model, epochs


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that scikit-learn brings (8 x 8 pixels each) and their labels.

    Read without its import, which takes seconds, in every worker at every start.
    """
    (sklearn,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(sklearn) / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def load_data(source: str) -> tuple[Arrays, Arrays]:
    """Return training and validation set: a fifth is kept for validation, the same on every worker."""
    if source == "digits":
        x, y = load_digits()
    else:
        with np.load(source) as file:
            x, y = file["x"], file["y"]
    x = (x / x.max()).astype("float32")
    validation, training = np.split(np.random.default_rng(0).permutation(len(x)), [len(x) // 5])
    return (x[training], y[training]), (x[validation], y[validation])


def batches(arrays: Arrays, global_batch: int, *, shuffle: bool = False) -> tf.data.Dataset:
    """All rows, of which TensorFlow gives each worker its share: `global_batch / workers` of every batch."""
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    if shuffle:
        dataset = dataset.shuffle(len(arrays[0]), seed=0)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.batch(global_batch).with_options(options)


def main() -> None:
    args = parse_args()
    config = {name: getattr(args, name) for name in ("data", "epochs", "batch_size", "lr", "pause_seconds")}
    if args.workers is None:
        train_fn(config)
        return
    # Only here: a pod of the TrainJob needs nothing of what starts one.
    from paceline.tensorflow import TensorflowTrainer

    trainer = TensorflowTrainer(
        train_fn,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(num_workers=args.workers),
        run_config=train.RunConfig(
            name=args.name,
            storage_path=args.storage,
            failure_config=train.FailureConfig(max_failures=args.max_failures),
        ),
        resume_from_checkpoint=train.Checkpoint(args.resume_from) if args.resume_from else None,
    )
    result = trainer.fit()
    print(f"accuracy   {result.metrics['val_accuracy']:.4f}\ncheckpoint {result.checkpoint.uri}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="'digits' or a .npz file with the arrays x and y")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32, help="samples per worker and step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pause-seconds", type=float, default=0.0, help="sleep after each epoch: time to break things")
    here = parser.add_argument_group("on this machine")
    here.add_argument("--workers", type=int, help="how many processes to start here; none: this process is the worker")
    here.add_argument("--storage", help="where results go (default: ~/paceline_results)")
    here.add_argument("--name", help="of the run; the same again goes on with it (default: a new one)")
    here.add_argument("--max-failures", type=int, default=2, help="how often to start again after a failure")
    here.add_argument("--resume-from", help="a checkpoint of another run to start from: a directory or a URI")
    return parser.parse_args()


if __name__ == "__main__":
    main()
