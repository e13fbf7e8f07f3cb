"""Which Keras `tf.keras` means in the processes of a TensorFlow job, where nobody has said it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from paceline import _contract as c


def variables(env: Mapping[str, str], program: str) -> dict[str, str]:
    """`TF_USE_LEGACY_KERAS=1` where tf-keras is installed; nothing where that, or the choice, is not ours to tell.

    Keras 3 cannot `fit` under MultiWorkerMirroredStrategy (keras-team/keras#20585), and TensorFlow reads the variable
    while it is imported, which unpickling a training function may do. So it has to be there from the start.

    Args:
        env: Of the process; one with TF_CONFIG is a TensorFlow job's.
        program: What it executes, a path. Beside this Python it has this Python's packages; of another Python, such as
            a virtual environment's, it is not known what it has.
    """
    if c.TF_CONFIG not in env or c.LEGACY_KERAS in env:
        return {}
    if Path(program).parent != Path(sys.executable).parent or find_spec("tf_keras") is None:
        return {}
    return {c.LEGACY_KERAS: "1"}
