"""SIGTERM does not stop a TensorFlow worker: the agent must, within the grace period."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.cluster.stores import free_port
from paceline.tensorflow import TensorflowConfig
from tests.support.agents import job, wait_for
from tests.support.timeouts import TENSORFLOW_S

GRACE_S = 5.0
# One epoch without end: nothing in it asks whether to stop.
SCRIPT = """
    import numpy, tensorflow as tf
    from paceline import train

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(4,))])
        model.compile(optimizer="sgd", loss="mse")
    rows = numpy.ones((8, 4), "float32"), numpy.ones((8, 1), "float32")
    on_batch_end = lambda step, logs: train.report({"step": step})
    callbacks = [tf.keras.callbacks.LambdaCallback(on_batch_end=on_batch_end)]
    model.fit(tf.data.Dataset.from_tensors(rows).repeat(), steps_per_epoch=10**9, callbacks=callbacks, verbose=0)
"""


def test_workers_that_ignore_sigterm_are_gone_within_the_grace_period(tmp_path: Path) -> None:
    told = TensorflowConfig().environment([free_port(), free_port()], 2)
    with job(tmp_path, workers=2, PACELINE_GRACE_SECONDS=str(GRACE_S), TF_CPP_MIN_LOG_LEVEL="2", **told) as made:
        pod = made.start(made.script(SCRIPT))
        status = wait_for(lambda: (s := pod.status()) and s.get("progress", {}).get("step", 0) > 20 and s, TENSORFLOW_S)
        pod.terminate()
        begun = time.monotonic()
        wait_for(lambda: (pod.status() or {}).get("leaving"))
        time.sleep(0.3 * GRACE_S)
        later = pod.status()
        assert later is not None
        assert later["progress"]["step"] > status["progress"]["step"] + 20, "SIGTERM has stopped them after all"
        assert pod.wait() == 143, pod.log
        assert time.monotonic() - begun < GRACE_S
        assert pod.message["outcome"] == "terminated"
