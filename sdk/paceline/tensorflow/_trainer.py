"""`TensorflowTrainer`: a `Trainer` whose workers find each other by TF_CONFIG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paceline.tensorflow._config import TensorflowConfig
from paceline.train import Checkpoint
from paceline.train._configs import RunConfig
from paceline.train._scaling import ScalingConfig
from paceline.trainer._backend import Backend
from paceline.trainer._trainer import _NOT_GIVEN, Trainer


class TensorflowTrainer(Trainer):
    """Runs one function in several processes that train together under a TensorFlow strategy.

        def train_fn(config):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
            with strategy.scope():
                model = build_model()
            dataset = make_dataset().batch(config["batch_size"] * train.get_context().get_world_size())
            model.fit(dataset, epochs=5, callbacks=[ReportCheckpointCallback()])

        trainer = TensorflowTrainer(
            train_fn, train_loop_config={"batch_size": 32}, scaling_config=ScalingConfig(num_workers=2)
        )
        result = trainer.fit()

    Every worker has TF_CONFIG before the function is called, so a strategy made in it finds the others.
    """

    def __init__(
        self,
        train_fn: Callable[..., Any] = _NOT_GIVEN,
        *,
        train_loop_config: Mapping[str, Any] | None = None,
        tensorflow_config: TensorflowConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: Mapping[str, Any] | None = None,
        dataset_config: Any = None,
        resume_from_checkpoint: Checkpoint | None = None,
        backend: Backend | None = None,
        tensorflow_backend: TensorflowConfig | None = None,
        **others: Any,
    ) -> None:
        """Check the arguments.

        Args:
            train_fn: As for `Trainer`, like all that is not told here.
            train_loop_config: Given to the function.
            tensorflow_config: None: `TensorflowConfig()`.
            scaling_config: How many workers.
            run_config: Name, storage, failures, checkpoints.
            datasets: For `train.get_dataset_shard`.
            dataset_config: How they are read and split.
            resume_from_checkpoint: Where the first attempt starts.
            backend: Where it runs. None: on this machine.
            tensorflow_backend: An older name of `tensorflow_config`.
            others: Other names that `Trainer` takes; a wrong one is told.
        Raises:
            TypeError, ValueError: An argument cannot be used; the message says what to change.
        """
        super().__init__(
            train_fn,
            train_loop_config=train_loop_config,
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            resume_from_checkpoint=resume_from_checkpoint,
            backend=backend,
            framework=_one_config(tensorflow_config, tensorflow_backend),
            **others,
        )


def _one_config(config: object, backend: object) -> TensorflowConfig:
    if config is not None and backend is not None:
        raise TypeError("tensorflow_config and tensorflow_backend are the same argument: give tensorflow_config alone")
    name = "tensorflow_config" if backend is None else "tensorflow_backend"
    given = config if backend is None else backend
    if given is not None and not isinstance(given, TensorflowConfig):
        raise TypeError(f"{name} is {given!r:.80}, a {type(given).__name__}: pass a TensorflowConfig")
    return given or TensorflowConfig()
