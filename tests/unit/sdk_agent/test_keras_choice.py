"""The Keras behind `tf.keras` in the processes of a TensorFlow job, in an image that says nothing about it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paceline.agent import keras

TF = {"TF_CONFIG": "{}"}
OWN = str(Path(sys.executable).parent / "any-program")


@pytest.mark.parametrize(
    ("env", "program", "there", "set_"),
    [
        (TF, OWN, True, True),
        (TF, OWN, False, False),
        ({}, OWN, True, False),
        ({**TF, "TF_USE_LEGACY_KERAS": "0"}, OWN, True, False),
        (TF, "/opt/venv/bin/python", True, False),
    ],
    ids=["tf-keras is there", "is not there", "no TensorFlow job", "the user's choice", "another Python"],
)
def test_tf_keras_is_chosen_where_it_is_there_and_nobody_has_chosen(
    env: dict[str, str], program: str, there: bool, set_: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        (tmp_path / "tf_keras").mkdir()
        (tmp_path / "tf_keras/__init__.py").write_text("raise AssertionError('it takes seconds to import')")
    monkeypatch.syspath_prepend(tmp_path)
    assert keras.variables(env, program) == ({"TF_USE_LEGACY_KERAS": "1"} if set_ else {})
