"""`prepare_dataset_shard`: a data set that is split already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.tensorflow._installed import check_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


def prepare_dataset_shard(tf_dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same data set, which TensorFlow will not split over the workers once more.

    For a data set of which each worker has its own rows already, such as one made of `train.get_dataset_shard()`.
    Without it MultiWorkerMirroredStrategy would give each worker a part of its part. Batches are still meant as global
    ones: under a strategy each replica takes `batch size / number of replicas` rows a step.

    Raises:
        TypeError: It is no `tf.data.Dataset`.
        ImportError: TensorFlow is not installed.
    """
    check_tensorflow("prepare_dataset_shard")
    import tensorflow as tf

    if not isinstance(tf_dataset, tf.data.Dataset):
        raise TypeError(
            f"prepare_dataset_shard was given a {type(tf_dataset).__name__}: pass a tf.data.Dataset, such as"
            " tf.data.Dataset.from_generator(...)"
        )
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return tf_dataset.with_options(options)
