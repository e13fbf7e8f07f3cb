"""`TensorflowConfig`: what TensorFlow adds to a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from paceline import _contract as c
from paceline.tensorflow._installed import check_tensorflow, keras_variables
from paceline.trainer._framework import Framework

# What Keras 3 raises from `fit` under MultiWorkerMirroredStrategy (keras-team/keras#20585).
_KERAS_3_FAILS = "Attempt to convert a value (PerReplica"
_WAY_OUT = (
    "Keras 3 cannot run model.fit under MultiWorkerMirroredStrategy (keras-team/keras#20585). Use tf-keras, the Keras"
    f" before it: pip install tf-keras, set {c.LEGACY_KERAS}=1 before TensorFlow is imported, and take Keras from"
    " `tf.keras`, not from `import keras`. Or write the training step yourself, with strategy.run"
)


@dataclass(frozen=True)
class TensorflowConfig(Framework):
    """What TensorFlow adds to a run: TF_CONFIG for every worker, and the choice of the Keras behind `tf.keras`.

    Attributes:
        legacy_keras: True: `tf.keras` is tf-keras (Keras 2), the one that trains with `model.fit` under
            MultiWorkerMirroredStrategy. False: Keras 3. None: as TF_USE_LEGACY_KERAS says where it is set, else True
            where tf-keras is installed. In a TrainJob whose command is a script, it counts where the script has not
            imported TensorFlow before `fit()`; set the variable in the job otherwise.
    """

    legacy_keras: bool | None = None

    name: ClassVar[Literal["torch", "tensorflow", "none"]] = "tensorflow"

    def __post_init__(self) -> None:
        if self.legacy_keras is not None and not isinstance(self.legacy_keras, bool):
            given = type(self.legacy_keras).__name__
            raise TypeError(
                f"TensorflowConfig.legacy_keras is {self.legacy_keras!r}, a {given}: pass True, False or None"
            )

    def ports(self, world_size: int) -> int:
        """One for each worker, at which the others reach it."""
        return world_size

    def environment(self, ports: Sequence[int], world_size: int) -> dict[str, str]:
        """TF_CONFIG of the first worker, in which the agent sets the index of each; the choice of Keras.

        Raises:
            ImportError: TensorFlow is not installed, or tf-keras is not and `legacy_keras` is True.
        """
        check_tensorflow("TensorflowTrainer")
        workers = [f"127.0.0.1:{port}" for port in ports[:world_size]]
        told = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
        return {c.TF_CONFIG: json.dumps(told), **keras_variables(self.legacy_keras, os.environ.get(c.LEGACY_KERAS))}

    def variables(self) -> dict[str, str]:
        """The choice of Keras where there is one; otherwise the agent looks which there are."""
        return {} if self.legacy_keras is None else {c.LEGACY_KERAS: str(int(self.legacy_keras))}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around the training function: Keras is chosen, and its one trap is told with the way out.

        Raises:
            ImportError: As `environment`.
            RuntimeError: Keras 3 was used with `fit` under MultiWorkerMirroredStrategy.
        """
        check_tensorflow("this worker")
        if "tensorflow" not in sys.modules:
            os.environ.update(keras_variables(self.legacy_keras, os.environ.get(c.LEGACY_KERAS)))
        try:
            yield
        except ValueError as e:
            if _KERAS_3_FAILS in str(e):
                raise RuntimeError(_WAY_OUT) from e
            raise
