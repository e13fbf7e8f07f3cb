"""Is TensorFlow here, and which Keras does `tf.keras` mean?"""

from __future__ import annotations

from importlib.util import find_spec

from paceline._contract import LEGACY_KERAS

_EXTRA = "pip install 'paceline[tensorflow]'"


def check_tensorflow(who: str) -> None:
    """TensorFlow can be imported. It is not imported, which takes seconds.

    Raises:
        ImportError: It is not installed.
    """
    if find_spec("tensorflow") is None:
        raise ImportError(f"{who} needs TensorFlow, which is not installed: {_EXTRA}")


def keras_variables(legacy: bool | None, given: str | None) -> dict[str, str]:
    """The variable by which TensorFlow chooses the Keras that `tf.keras` means.

    Args:
        legacy: `TensorflowConfig.legacy_keras`.
        given: What the variable says already.
    Raises:
        ImportError: tf-keras is asked for and not installed.
    """
    if legacy is False:
        return {LEGACY_KERAS: "0"}
    installed = find_spec("tf_keras") is not None
    if legacy is None:
        return {LEGACY_KERAS: "1"} if installed and given is None else {}
    if not installed:
        raise ImportError(f"TensorflowConfig.legacy_keras is True and tf-keras is not installed: {_EXTRA}")
    return {LEGACY_KERAS: "1"}
