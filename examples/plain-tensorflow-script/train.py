"""Train on handwritten digits with TensorFlow's own multi-worker strategy, started by anything that sets TF_CONFIG.

It needs tf-keras beside TensorFlow, and TF_USE_LEGACY_KERAS=1: Keras 3 cannot `fit` under this strategy.
"""

import json
import os

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else of TensorFlow
task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {"type": "worker", "index": 0})

pixels, labels = load_digits(return_X_y=True)
dataset = tf.data.Dataset.from_tensor_slices(((pixels / 16).astype(np.float32), labels)).shuffle(2000, seed=0)
dataset = dataset.batch(32 * strategy.num_replicas_in_sync)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA

with strategy.scope():
    hidden = tf.keras.layers.Dense(128, activation="relu", input_shape=(64,))
    model = tf.keras.Sequential([hidden, tf.keras.layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf.keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])

history = model.fit(dataset.with_options(options), epochs=3, verbose=0)
replicas, accuracy = strategy.num_replicas_in_sync, history.history["accuracy"][-1]
print(f"{task['type']} {task['index']} of {replicas}: accuracy {accuracy:.3f}", flush=True)
