"""`ReportCheckpointCallback`: what Keras knows at the end of an epoch, reported, with the model as checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline import train

__all__ = ["ReportCheckpointCallback"]

MODEL_FILE = "model.keras"
_PHASES = ("train", "test", "predict")
_EVENTS = (
    "epoch_begin",
    "epoch_end",
    *(f"{phase}_{when}" for phase in _PHASES for when in ("begin", "end")),
    *(f"{phase}_batch_{when}" for phase in _PHASES for when in ("begin", "end")),
)
_BATCH_EVENTS = frozenset(event for event in _EVENTS if "_batch_" in event)


def _nothing(*_: Any, **__: Any) -> None:
    """In place of a batch hook that has nothing to do."""


# Both Kerases ask for this: as long as no callback listens to batches, they do not wait for the metrics of each.
_nothing._is_default = True  # type: ignore[attr-defined]


class ReportCheckpointCallback:
    """Keras callback that reports metrics and checkpoints. Give it to `fit` on every worker.

        model.fit(dataset, epochs=10, callbacks=[ReportCheckpointCallback()])

    A checkpoint is the whole model with its optimizer, as `model.keras`, and the number of finished epochs as metadata:

        checkpoint = train.get_checkpoint()
        with strategy.scope(), checkpoint.as_directory() as folder:
            model = tf.keras.models.load_model(os.path.join(folder, "model.keras"))
        model.fit(..., initial_epoch=checkpoint.get_metadata()["epoch"])

    Every worker saves, since reading some variables takes all of them (the statistics of a BatchNormalization, for
    instance), and rank 0's files are the checkpoint. Once the group is told to stop (a drain, a preemption), `fit`
    ends after the epoch that runs, on all workers alike.

    It works with the models of tf-keras and of Keras 3, and inherits from neither's Callback. Subclasses may override
    `save`, or any `on_...` method in which they call the same method of this class.
    """

    def __init__(
        self,
        checkpoint_on: str | Sequence[str] = "epoch_end",
        report_metrics_on: str | Sequence[str] = "epoch_end",
        metrics: str | Sequence[str] | Mapping[str, str] | None = None,
    ) -> None:
        """Choose when and what.

        Args:
            checkpoint_on: Events at which the model is saved and reported with the metrics, as Keras names them
                without `on_`: "epoch_end", "train_batch_end", "test_end" ... One or several; an empty list for never.
            report_metrics_on: Events at which the metrics alone are reported. An event in both gives one report.
            metrics: Which of Keras's logs are reported. None: all. A name or several: those. A dict: the name in the
                report -> the name in the logs. At the begin of an epoch, a phase or a batch Keras has no logs.
        Raises:
            ValueError: An event that Keras does not have.
            TypeError: Something else than names.
        """
        self.model: Any = None
        self.params: Any = {}
        self._checkpoint_on = _events("checkpoint_on", checkpoint_on)
        self._report_metrics_on = _events("report_metrics_on", report_metrics_on)
        self._metrics = _names(metrics)
        self._epochs = 0
        for event in _BATCH_EVENTS - self._checkpoint_on - self._report_metrics_on:
            self._quieten(event)

    def save(self, directory: str) -> None:
        """Write the files of a checkpoint. Called on every worker at once, each with a directory of its own.

        Args:
            directory: Empty, and gone after the report.
        """
        self.model.save(str(Path(directory, MODEL_FILE)))

    # --- what Keras calls --------------------------------------------------------------------------

    on_batch_begin = on_batch_end = staticmethod(_nothing)  # old names of the hooks of a training step

    def set_model(self, model: Any) -> None:
        """Keras tells which model is trained."""
        self.model = model

    def set_params(self, params: Any) -> None:
        """Keras tells how `fit` was called."""
        self.params = params

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """An epoch begins; `epoch` counts from 0."""
        self._epochs = epoch
        self._handle("epoch_begin", logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """An epoch has ended, its validation too."""
        self._epochs = epoch + 1
        self._handle("epoch_end", logs)
        if train.should_stop():
            self.model.stop_training = True

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """`fit` begins."""
        self._handle("train_begin", logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """`fit` ends."""
        self._handle("train_end", logs)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """`evaluate` begins, or the validation of an epoch."""
        self._handle("test_begin", logs)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """`evaluate` ends, or the validation of an epoch."""
        self._handle("test_end", logs)

    def on_predict_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """`predict` begins."""
        self._handle("predict_begin", logs)

    def on_predict_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """`predict` ends."""
        self._handle("predict_end", logs)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A training step begins."""
        self._handle("train_batch_begin", logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A training step, or as many as one call of TensorFlow makes, has ended."""
        self._handle("train_batch_end", logs)

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A batch of an evaluation begins."""
        self._handle("test_batch_begin", logs)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A batch of an evaluation has ended."""
        self._handle("test_batch_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A batch of a prediction begins."""
        self._handle("predict_batch_begin", logs)

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A batch of a prediction has ended."""
        self._handle("predict_batch_end", logs)

    def _implements_train_batch_hooks(self) -> bool:
        """tf-keras asks which batches a callback wants to hear of."""
        return self._listens("batch_begin", "batch_end", "train_batch_begin", "train_batch_end")

    def _implements_test_batch_hooks(self) -> bool:
        return self._listens("test_batch_begin", "test_batch_end")

    def _implements_predict_batch_hooks(self) -> bool:
        return self._listens("predict_batch_begin", "predict_batch_end")

    # --- what follows ------------------------------------------------------------------------------

    def _listens(self, *events: str) -> bool:
        return any(getattr(self, f"on_{event}") is not _nothing for event in events)

    def _quieten(self, event: str) -> None:
        name = f"on_{event}"
        if getattr(type(self), name) is getattr(ReportCheckpointCallback, name):
            setattr(self, name, _nothing)

    def _handle(self, event: str, logs: Mapping[str, Any] | None) -> None:
        if event in self._checkpoint_on:
            metrics = self._select(event, logs or {})
            with tempfile.TemporaryDirectory() as folder:
                self.save(folder)
                checkpoint = train.Checkpoint.from_directory(folder)
                checkpoint.set_metadata({"epoch": self._epochs})
                first = train.get_context().get_world_rank() == 0
                train.report(metrics, checkpoint=checkpoint if first else None)
        elif event in self._report_metrics_on:
            train.report(self._select(event, logs or {}))

    def _select(self, event: str, logs: Mapping[str, Any]) -> dict[str, Any]:
        if self._metrics is None:
            return dict(logs)
        if not logs:
            return {}
        if missing := [key for key in self._metrics.values() if key not in logs]:
            raise ValueError(
                f"ReportCheckpointCallback.metrics names {', '.join(map(repr, missing))}, which Keras does not have at"
                f" {event}; it has {', '.join(map(repr, sorted(logs)))}. Validation metrics need validation_data in fit"
            )
        return {name: logs[key] for name, key in self._metrics.items()}


def _events(field: str, given: object) -> frozenset[str]:
    what = f"ReportCheckpointCallback.{field}"
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence | set | frozenset) or not all(isinstance(event, str) for event in given):
        raise TypeError(f"{what} is {given!r}: pass the name of an event, or a list of them, empty for never")
    if unknown := sorted(set(given) - set(_EVENTS)):
        hint = " (without 'on_')" if any(event.removeprefix("on_") in _EVENTS for event in unknown) else ""
        raise ValueError(f"{what} has {', '.join(map(repr, unknown))}: Keras has{hint} {', '.join(_EVENTS)}")
    return frozenset(given)


def _names(given: object) -> dict[str, str] | None:
    """Name in the report -> name in the logs; None for all."""
    if given is None:
        return None
    if isinstance(given, str):
        return {given: given}
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence):
        pairs = [(name, name) for name in given]
    else:
        pairs = [(given, given)]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise TypeError(
            f"ReportCheckpointCallback.metrics is {given!r}: pass a name of Keras's logs, a list of names, a dict of"
            " the reported name -> the name in the logs, or None for all"
        )
    return dict(pairs)
