"""`TensorflowTrainer.fit()` on this machine: the digits example with a worker killed half way, and what follows it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from sklearn.datasets import load_digits

from paceline.tensorflow import TensorflowConfig, TensorflowTrainer
from paceline.train import Checkpoint, Result, RunConfig, ScalingConfig, TrainingFailedError
from tests.support.agents import SDK, wait_for
from tests.support.timeouts import TENSORFLOW_S

EXAMPLE = SDK.parent / "examples" / "keras-digits" / "train.py"
EPOCHS = 5
BETTER_THAN_CHANCE = 0.85  # ten classes: chance is 0.1


@dataclass(frozen=True, slots=True)
class Example:
    """The example after its end."""

    result: Result
    reports: list[dict[str, Any]]
    workers: dict[int, dict[str, str]]
    """Environment of each rank of the first attempt."""
    output: str


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run in a directory of the test's own."""
    monkeypatch.setenv("PACELINE_LOCAL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Run it as a user does, with two workers, of which one is killed after the second epoch."""
    folder = tmp_path_factory.mktemp("example")
    storage, run = folder / "runs", folder / "runs" / "digits"
    options = ["--workers", "2", "--epochs", str(EPOCHS), "--storage", str(storage), "--name", "digits"]
    command = [sys.executable, str(EXAMPLE), *options, "--pause-seconds", "1"]
    with (folder / "output").open("w") as output:
        started = subprocess.Popen(command, env=environment(folder), cwd=folder, stdout=output, stderr=output)
        try:
            told = folder / "output"
            wait_for(lambda: started.poll() is not None or told.read_text().count(" committed ") == 2, TENSORFLOW_S)
            workers = workers_of(storage)
            assert set(workers) == {0, 1}, told.read_text()
            os.kill(workers[1][0], signal.SIGKILL)
            assert started.wait(TENSORFLOW_S) == 0, (folder / "output").read_text()
        finally:
            if started.poll() is None:
                started.kill()  # its agent and workers end with it
                started.wait()
    environments = {rank: variables for rank, (_, variables) in workers.items()}
    return Example(Result.from_path(run), reports(run), environments, (folder / "output").read_text())


def test_two_workers_learn_and_no_epoch_is_lost_when_one_is_killed(example: Example) -> None:
    told = re.findall(r"rank (\d) resumes after epoch (\d+)", example.output)
    assert sorted(rank for rank, _ in told) == ["0", "1"], example.output
    (resumed,) = {int(epoch) for _, epoch in told}
    counted = {report["iteration"]: report for report in example.reports}
    assert list(counted) == list(range(1, EPOCHS + 1))
    assert [report["attempt"] for report in counted.values()] == [0] * resumed + [1] * (EPOCHS - resumed)
    # What was learned before the fault was loaded.
    assert counted[resumed + 1]["loss"] < counted[resumed]["loss"]
    assert example.result.metrics is not None
    assert example.result.metrics["val_accuracy"] > BETTER_THAN_CHANCE
    assert example.result.checkpoint is not None
    assert example.result.checkpoint.get_metadata() == {"epoch": EPOCHS}


def test_every_worker_has_a_tf_config_with_its_own_index(example: Example) -> None:
    told = {rank: json.loads(variables["TF_CONFIG"]) for rank, variables in example.workers.items()}
    assert [told[rank]["task"] for rank in (0, 1)] == [{"type": "worker", "index": rank} for rank in (0, 1)]
    assert told[0]["cluster"] == told[1]["cluster"]
    addresses = told[0]["cluster"]["worker"]
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert all(variables["TF_USE_LEGACY_KERAS"] == "1" for variables in example.workers.values())


def test_a_new_run_starts_from_its_checkpoint_under_mirrored_strategy(example: Example, tmp_path: Path) -> None:
    def train_fn(config: dict[str, Any]) -> None:
        from pathlib import Path

        import tensorflow as tf
        from sklearn.datasets import load_digits

        from paceline import train
        from paceline.tensorflow.keras import ReportCheckpointCallback

        strategy = tf.distribute.MirroredStrategy()
        checkpoint = train.get_checkpoint()
        assert checkpoint is not None
        with checkpoint.as_directory() as folder, strategy.scope():
            model = tf.keras.models.load_model(Path(folder, "model.keras"))
        steps = int(model.optimizer.iterations.numpy())
        x, y = load_digits(return_X_y=True)
        x = (x / 16).astype("float32")
        known = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
        train.report({"known": known, "steps": steps, "replicas": strategy.num_replicas_in_sync})
        first = checkpoint.get_metadata()["epoch"]
        model.fit(x, y, initial_epoch=first, epochs=config["epochs"], callbacks=[ReportCheckpointCallback()], verbose=0)

    trainer = TensorflowTrainer(
        train_fn,
        train_loop_config={"epochs": EPOCHS + 2},
        run_config=RunConfig(name="more", storage_path=str(tmp_path)),
        resume_from_checkpoint=example.result.checkpoint,
    )
    result = trainer.fit()
    loaded, *epochs = reports(tmp_path / "more")
    assert loaded["known"] > BETTER_THAN_CHANCE
    assert loaded["steps"] == EPOCHS * 23  # the optimizer came along: 1437 samples in batches of 2 x 32
    assert loaded["replicas"] == 1
    assert len(epochs) == 2
    assert result.checkpoint is not None
    assert result.checkpoint.get_metadata() == {"epoch": EPOCHS + 2}


def test_keras_3_trains_on_a_split_dataset_and_its_fit_is_refused_with_the_way_out(tmp_path: Path) -> None:
    def train_fn() -> None:
        import keras
        import tensorflow as tf

        from paceline import train
        from paceline.tensorflow import prepare_dataset_shard

        assert tf.keras.__version__ == keras.__version__ >= "3"
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        shard = train.get_dataset_shard("train")

        def batches() -> Iterator[Any]:
            for batch in shard.iter_tf_batches(batch_size=128, dtypes={"image": tf.float32}, shuffle_buffer_size=1000):
                yield batch["image"] / 16, batch["digit"]

        signature = tf.TensorSpec((None, 64), tf.float32), tf.TensorSpec((None,), tf.int64)
        dataset = prepare_dataset_shard(tf.data.Dataset.from_generator(batches, output_signature=signature))
        with strategy.scope():
            model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)])
            optimizer = keras.optimizers.Adam(5e-3)
            optimizer.build(model.trainable_variables)

        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = model(x, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
                loss = tf.nn.compute_average_loss(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            hits = tf.argmax(logits, axis=1) == tf.cast(y, tf.int64)
            return tf.stack([tf.reduce_sum(tf.cast(hits, tf.float32)), tf.cast(tf.size(y), tf.float32)])

        def on_all(x: Any, y: Any) -> Any:
            return strategy.reduce("SUM", strategy.run(step, args=(x, y)), axis=None)

        distributed = tf.function(on_all)

        for _ in range(EPOCHS):
            hits, rows = sum(distributed(x, y) for x, y in strategy.experimental_distribute_dataset(dataset)).numpy()
            train.report({"accuracy": hits / rows, "rows": rows})
        model.compile(optimizer="adam", loss="mse")
        model.fit(dataset, verbose=0)

    images, digits = load_digits(return_X_y=True)
    table = pyarrow.table({"image": pyarrow.FixedSizeListArray.from_arrays(images.ravel(), 64), "digit": digits})
    trainer = TensorflowTrainer(
        train_fn,
        tensorflow_config=TensorflowConfig(legacy_keras=False),
        datasets={"train": table},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="keras-3", storage_path=str(tmp_path)),
    )
    with pytest.raises(TrainingFailedError, match=r"Keras 3 cannot run model\.fit under MultiWorkerMirroredStrategy"):
        trainer.fit()
    *_, last = reports(tmp_path / "keras-3")
    assert last["accuracy"] > BETTER_THAN_CHANCE
    assert last["rows"] == 1796, "each worker has its own half of the rows, and TensorFlow must not halve it again"


def test_both_names_of_the_configuration_are_taken_and_never_together() -> None:
    def train_fn() -> None: ...

    for name in ("tensorflow_config", "tensorflow_backend"):
        given: Any = {name: TensorflowConfig(legacy_keras=False)}
        assert TensorflowTrainer(train_fn, **given)._plan.framework == given[name]
        with pytest.raises(TypeError, match=f"{name} is 'gloo', a str: pass a TensorflowConfig"):
            TensorflowTrainer(train_fn, **{name: "gloo"})  # type: ignore[arg-type]
    assert TensorflowTrainer(train_fn)._plan.framework == TensorflowConfig()
    with pytest.raises(TypeError, match="are the same argument: give tensorflow_config alone"):
        TensorflowTrainer(train_fn, tensorflow_config=TensorflowConfig(), tensorflow_backend=TensorflowConfig())
    with pytest.raises(TypeError, match=r"TensorflowTrainer.*num_workers"):
        TensorflowTrainer(train_fn, num_workers=2)


def test_the_checkpoint_is_what_the_guide_says(example: Example) -> None:
    checkpoint = example.result.checkpoint
    assert isinstance(checkpoint, Checkpoint)
    with checkpoint.as_directory() as folder:
        assert {path.name for path in Path(folder).iterdir()} == {"model.keras", ".metadata.json", ".paceline.json"}


def environment(folder: Path) -> dict[str, str]:
    """A user's shell."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PACELINE_", "TF_"))}
    return {**kept, "PYTHONPATH": str(SDK), "PACELINE_LOCAL_CACHE_DIR": str(folder / "cache")}


def reports(run: Path) -> list[dict[str, Any]]:
    """Lines of result.json so far."""
    try:
        return [
            json.loads(line) for line in (run / "result.json").read_text().splitlines(keepends=True) if "\n" in line
        ]
    except FileNotFoundError:
        return []


def workers_of(storage: Path) -> dict[int, tuple[int, dict[str, str]]]:
    """Process id and environment of each rank that trains into this storage."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = (item.partition("=") for item in entry.read_text(errors="replace").split("\0"))
        except OSError:
            continue
        variables = {name: value for name, _, value in pairs}
        if variables.get("PACELINE_STORAGE_PATH") == str(storage) and "PACELINE_AGENT_SOCKET" in variables:
            found[int(variables["RANK"])] = (int(entry.parent.name), variables)
    return found
