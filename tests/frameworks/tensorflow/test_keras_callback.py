"""`ReportCheckpointCallback` in a real worker, with models of tf-keras and of Keras 3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import job, wait_for
from tests.support.timeouts import TENSORFLOW_S

# Every case trains two epochs of two batches with each Keras, in one process: TensorFlow takes seconds to import.
SCRIPT = """
    import json, sys
    import keras, numpy, tf_keras
    from paceline import train
    from paceline.tensorflow.keras import ReportCheckpointCallback

    x, y = numpy.ones((8, 2), "float32"), numpy.ones((8, 1), "float32")
    for kind in (tf_keras, keras):
        model = kind.Sequential([kind.Input((2,)), kind.layers.Dense(1)])
        model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
        for name, options in json.loads(sys.argv[1]).items():
            train.report({"case": f"{kind.__name__}: {name}"})
            callbacks = [ReportCheckpointCallback(**options)]
            model.fit(x, y, validation_data=(x, y), batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    train.report({"case": "without end"})
    print("trains without end", flush=True)
    model.fit(x, y, epochs=10**6, verbose=0, callbacks=[ReportCheckpointCallback()])
    print("left by itself", flush=True)
"""
TRAINED = ["loss", "mae"]
ALL = [*TRAINED, "val_loss", "val_mae"]

# Options -> for each report its metrics, and the finished epochs that its checkpoint tells, where it has one.
Report = tuple[list[str], int | None]
CASES: dict[str, tuple[dict[str, Any], list[Report]]] = {
    "defaults": ({}, [(ALL, 1), (ALL, 2)]),
    "one checkpoint at the end": (
        {"checkpoint_on": "train_end"},
        [(ALL, None), (ALL, None), (ALL, 2)],
    ),
    "no checkpoint": ({"checkpoint_on": [], "metrics": "loss"}, [(["loss"], None)] * 2),
    "chosen metrics": ({"metrics": ["val_mae", "loss"]}, [(["loss", "val_mae"], 1), (["loss", "val_mae"], 2)]),
    "renamed metrics": ({"metrics": {"error": "val_mae"}}, [(["error"], 1), (["error"], 2)]),
    "every batch": (
        {"report_metrics_on": ["train_batch_end", "epoch_end"]},
        [(TRAINED, None), (TRAINED, None), (ALL, 1), (TRAINED, None), (TRAINED, None), (ALL, 2)],
    ),
    "a checkpoint of every batch": (
        {"checkpoint_on": ["train_batch_end"], "report_metrics_on": [], "metrics": "loss"},
        [(["loss"], 0), (["loss"], 0), (["loss"], 1), (["loss"], 1)],
    ),
    "before there is anything": (
        {"checkpoint_on": "train_begin", "metrics": ["loss"]},
        [([], 0), (["loss"], None), (["loss"], None)],
    ),
    "validation": ({"checkpoint_on": ["test_end"], "report_metrics_on": []}, [(TRAINED, 0), (TRAINED, 1)]),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Report]]:
    """All reports of all cases: from one worker, as they are stored. SIGTERM ends it in the last one."""
    with job(tmp_path_factory.mktemp("callback"), TF_CPP_MIN_LOG_LEVEL="2") as made:
        command = made.script(SCRIPT)
        pod = made.start([*command, json.dumps({name: options for name, (options, _) in CASES.items()})])
        wait_for(lambda: pod.process.poll() is not None or "trains without end" in pod.log, TENSORFLOW_S)
        pod.terminate()
        assert pod.wait(TENSORFLOW_S) == 143, pod.log
        assert "left by itself" in pod.log
        epochs = {commit["iteration"]: _epochs(made.run, commit) for commit in made.commits().values()}
        found: dict[str, list[Report]] = {}
        for line in made.results():
            if "case" in line:
                reports = found.setdefault(line["case"], [])
            else:
                metrics = sorted(set(line) - {"step", "time", "attempt", "iteration"})
                reports.append((metrics, epochs.pop(line["iteration"], None)))
    assert not epochs, "checkpoints that belong to no report"
    return found


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
@pytest.mark.parametrize("name", CASES)
def test_each_event_reports_what_was_asked_for(name: str, kind: str, told: dict[str, list[Report]]) -> None:
    assert told[f"{kind}: {name}"] == CASES[name][1]


def test_fit_ends_after_an_epoch_when_the_group_is_told_to_stop(told: dict[str, list[Report]]) -> None:
    epochs = [epoch for _, epoch in told["without end"]]
    assert epochs == list(range(1, len(epochs) + 1)), "each of them is stored, the last one too"


def _epochs(run: Path, commit: Mapping[str, Any]) -> int:
    directory = run / f"checkpoint_{commit['index']:06d}"
    assert set(commit["files"]) == {"model.keras", ".metadata.json"}
    assert (directory / "model.keras").stat().st_size > 1000
    return int(json.loads((directory / ".metadata.json").read_text())["epoch"])
