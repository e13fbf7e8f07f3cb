"""What is told before anything trains: a wrong option, a package that is not there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from paceline.tensorflow import TensorflowConfig, prepare_dataset_shard
from paceline.tensorflow import _installed as installed
from paceline.tensorflow.keras import ReportCheckpointCallback
from tests.support.agents import SDK

without_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is not None, reason="TensorFlow is installed here")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        pytest.param(
            {"checkpoint_on": "epoch"}, ValueError, "checkpoint_on has 'epoch': Keras has epoch_begin", id="no event"
        ),
        pytest.param(
            {"report_metrics_on": ["epoch_end", "on_train_end"]},
            ValueError,
            r"report_metrics_on has 'on_train_end': Keras has \(without 'on_'\) epoch_begin",
            id="with on_",
        ),
        pytest.param({"checkpoint_on": None}, TypeError, "checkpoint_on is None: .*empty for never", id="none"),
        pytest.param({"checkpoint_on": [1]}, TypeError, r"checkpoint_on is \[1\]", id="no names"),
        pytest.param({"metrics": 3}, TypeError, "metrics is 3: pass a name", id="no metrics"),
        pytest.param({"metrics": {"loss": 1}}, TypeError, "metrics is {'loss': 1}", id="no name of a log"),
    ],
)
def test_a_wrong_option_is_told_when_the_callback_is_made(options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f"ReportCheckpointCallback.{says}"):
        ReportCheckpointCallback(**options)


def test_a_metric_that_keras_does_not_have_is_told_with_those_it_has() -> None:
    callback = ReportCheckpointCallback(checkpoint_on=[], metrics=["loss", "val_loss"])
    says = r"names 'val_loss', .* at epoch_end; it has 'accuracy', 'loss'\. .*validation_data"
    with pytest.raises(ValueError, match=says):
        callback.on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})
    callback.on_train_begin({})  # Keras has no logs yet: nothing is missing


def test_only_a_callback_that_needs_the_batches_makes_keras_wait_for_them() -> None:
    """Both Kerases look for this mark; without it, each step ends with its metrics copied from the device."""

    class Own(ReportCheckpointCallback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None: ...

    def hears(callback: ReportCheckpointCallback) -> list[bool]:
        asked = callback._implements_train_batch_hooks(), callback._implements_test_batch_hooks()
        marked = [getattr(getattr(callback, f"on_{p}_batch_end"), "_is_default", False) for p in ("train", "test")]
        assert [not mark for mark in marked] == [*asked]
        return [*asked]

    assert hears(ReportCheckpointCallback()) == [False, False]
    assert hears(ReportCheckpointCallback(checkpoint_on="train_batch_end")) == [True, False]
    assert hears(ReportCheckpointCallback(report_metrics_on=["test_batch_end"])) == [False, True]
    assert hears(Own()) == [True, False]


@without_tensorflow
def test_without_tensorflow_the_extra_is_named() -> None:
    config = TensorflowConfig()
    for call in (
        lambda: config.environment([1], 1),
        lambda: config.session().__enter__(),
        lambda: prepare_dataset_shard([]),
    ):
        with pytest.raises(
            ImportError, match=r"needs TensorFlow, which is not installed: pip install 'paceline\[tensor"
        ):
            call()
    with pytest.raises(ImportError, match=r"tf-keras is not installed: pip install 'paceline\[tensorflow\]'"):
        installed.keras_variables(True, None)


@pytest.mark.parametrize(
    ("legacy", "given", "there", "variables"),
    [
        (None, None, True, {"TF_USE_LEGACY_KERAS": "1"}),
        (None, None, False, {}),
        (None, "0", True, {}),
        (True, "0", True, {"TF_USE_LEGACY_KERAS": "1"}),
        (False, "1", True, {"TF_USE_LEGACY_KERAS": "0"}),
        (False, None, False, {"TF_USE_LEGACY_KERAS": "0"}),
    ],
)
def test_which_keras_tf_keras_is(
    legacy: bool | None, given: str | None, there: bool, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: object() if there else None)
    assert installed.keras_variables(legacy, given) == variables


def test_an_attempt_on_this_machine_gets_a_list_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: object())
    config = TensorflowConfig(legacy_keras=False)
    assert config.ports(2) == 2
    told = config.environment([5001, 5002], 2)
    assert json.loads(told.pop("TF_CONFIG")) == {
        "cluster": {"worker": ["127.0.0.1:5001", "127.0.0.1:5002"]},
        "task": {"type": "worker", "index": 0},
    }
    assert told == {"TF_USE_LEGACY_KERAS": "0"}
    assert [TensorflowConfig(legacy).variables() for legacy in (None, True, False)] == [
        {},
        {"TF_USE_LEGACY_KERAS": "1"},
        {"TF_USE_LEGACY_KERAS": "0"},
    ]
    assert (config.name, pickle.loads(pickle.dumps(config))) == ("tensorflow", config)
    with pytest.raises(TypeError, match="legacy_keras is 'yes', a str"):
        TensorflowConfig(legacy_keras="yes")  # type: ignore[arg-type]


def test_the_trap_of_keras_3_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: object())
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    with pytest.raises(ValueError, match="another"), TensorflowConfig().session():
        raise ValueError("another mistake")
    with (
        pytest.raises(RuntimeError, match="TF_USE_LEGACY_KERAS=1 before TensorFlow") as e,
        TensorflowConfig().session(),
    ):
        raise ValueError("Attempt to convert a value (PerReplica:{ 0: <tf.Tensor...")
    assert isinstance(e.value.__cause__, ValueError)


def test_what_a_worker_imports_needs_nothing_but_the_standard_library() -> None:
    """A worker's image has TensorFlow and `paceline`, not what starts a run."""
    code = "import sys, paceline.tensorflow.keras; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(SDK)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "paceline" in loaded
    assert not loaded & {"tensorflow", "tf_keras", "keras", "numpy", "cloudpickle", "prometheus_client"}
