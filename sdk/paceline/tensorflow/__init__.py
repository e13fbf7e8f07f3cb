"""TensorFlow and Keras on several workers.

    from paceline.tensorflow import TensorflowTrainer

    result = TensorflowTrainer(train_fn, scaling_config=ScalingConfig(num_workers=2)).fit()

`paceline.tensorflow.keras` has the callback that reports. Nothing here imports TensorFlow before it is needed, and what
a worker uses (the callback, `prepare_dataset_shard`) needs no more than TensorFlow.
"""

from typing import TYPE_CHECKING

from paceline import _later

if TYPE_CHECKING:
    from paceline.tensorflow._config import TensorflowConfig
    from paceline.tensorflow._dataset import prepare_dataset_shard
    from paceline.tensorflow._trainer import TensorflowTrainer

__all__ = ["TensorflowConfig", "TensorflowTrainer", "prepare_dataset_shard"]

# A worker's image need not have what the trainer is made of.
_LATER = {
    "TensorflowConfig": "_config",
    "TensorflowTrainer": "_trainer",
    "prepare_dataset_shard": "_dataset",
}
__getattr__, __dir__ = _later.names(__name__, _LATER)
