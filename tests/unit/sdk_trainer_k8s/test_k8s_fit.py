"""`fit()` on a cluster, against an API server that the test holds: what is created, followed, returned and raised."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline import train
from paceline.api.reasons import MAX_RESTARTS_REACHED
from paceline.client import follow, jobs, podlog
from paceline.client.errors import ClusterError, NotFoundError
from paceline.train import RunConfig, ScalingConfig, TrainingFailedError
from paceline.trainer import Kubernetes, RunHandle, Trainer, Volume, _task
from paceline.trainer.cluster import ending
from tests.support.agents import SDK
from tests.support.cli_objects import CHECKPOINT, condition, pod
from tests.support.kube_api import KubeApi, serving

ERROR = {"rank": 1, "type": "ValueError", "message": "loss is nan", "exitCode": 1, "traceback": "Traceback\n  line 3"}
FAILED = {
    "phase": "Failed",
    "conditions": [condition("Failed", "True", MAX_RESTARTS_REACHED, "worker 1 exited 1")],
    "result": {"path": "/mnt/shared/runs/digits", "error": ERROR},
}
SUCCEEDED = {
    "phase": "Succeeded",
    "checkpoint": CHECKPOINT | {"path": "/mnt/shared/runs/digits/checkpoint_000007", "metrics": {"loss": 0.3}},
    "result": {"path": "/mnt/shared/runs/digits", "metrics": {"loss": 0.25}},
}


def train_fn(config: dict[str, Any]) -> None:
    train.report({"loss": config["lr"]})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubeApi]:
    for module in (jobs, podlog, follow):
        monkeypatch.setattr(module, "PAUSE_S" if module is jobs else "LOOK_S", 0.01)
    with serving(KubeApi()) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path, namespace="ml")))
        monkeypatch.delenv("PACELINE_STORAGE", raising=False)
        yield api


def trainer(name: str | None = "digits", **backend: Any) -> Trainer:
    settings: dict[str, Any] = {"image": "team/train:1", "volume": Volume("shared", "/mnt/shared"), **backend}
    return Trainer(
        train_fn,
        train_loop_config={"lr": 0.1},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name=name, storage_path="/mnt/shared/runs"),
        backend=Kubernetes(**settings),
    )


def operate(api: KubeApi, *statuses: dict[str, Any]) -> None:
    """Play the operator: each look at the job shows the next status; the last one stays."""
    original = api.answer
    left = iter(statuses)

    def answer(method: str, url: str, body: bytes) -> Any:
        if method == "GET" and url.endswith("/trainjobs/digits") and (status := next(left, None)) is not None:
            api.jobs[("ml", "digits")]["status"] = status
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]


def test_fit_creates_follows_and_returns_what_the_status_tells(api: KubeApi, capfd: pytest.CaptureFixture[str]) -> None:
    api.pods = [pod(0, 0, state={"terminated": {"exitCode": 0}}), pod(0, 1, state={"running": {}})]
    api.logs = {"digits-0-0": b"epoch 0\nepoch 1\n", "digits-0-1": b"not rank 0\n"}
    operate(api, {}, {"phase": "Running", "conditions": [condition("Running", "True", "AllWorkersRunning")]}, SUCCEEDED)
    result = trainer().fit()
    assert (result.metrics, result.error) == ({"loss": 0.25}, None)
    assert [(c.path, metrics) for c, metrics in result.best_checkpoints] == [
        ("/mnt/shared/runs/digits/checkpoint_000007", {"loss": 0.3})
    ]
    out, err = capfd.readouterr()
    assert out == "epoch 0\nepoch 1\n"
    assert err.splitlines()[0] == "[paceline] digits: created in namespace ml, 2 workers of test_k8s_fit.py:train_fn"
    assert "[paceline] digits: Running, workers 0/2" in err
    assert "on the volume 'shared' of the cluster: the Result holds what the job's status tells" in err

    owner = api.config_maps["digits-task"]["metadata"]["ownerReferences"]
    assert [(o["kind"], o["name"], o["uid"]) for o in owner] == [("TrainJob", "digits", "u")]
    task = _task.loads(base64.b64decode(api.config_maps["digits-task"]["binaryData"]["task"]))
    assert (task.function.__name__, task.config) == ("train_fn", {"lr": 0.1})


END = "-- end --"


def test_a_terminal_shows_a_table_above_which_the_output_scrolls(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    running: dict[str, Any] = {
        "phase": "Running", "restarts": 1, "workers": {"desired": 2, "running": 2},
        "conditions": [condition("Running", "True", "AllWorkersRunning")],
        "progress": {"step": 40, "metrics": {"loss": 0.3123456789}},
        "checkpoint": CHECKPOINT,
    }  # fmt: skip
    api.pods = [pod(0, 0, state={"terminated": {"exitCode": 0}})]
    api.logs = {"digits-0-0": b"epoch 0\n[paceline] step 1: loss=0.5\n"}
    operate(api, running, running, {**running, **SUCCEEDED})
    with open(theirs, "w", buffering=1) as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert trainer().fit().metrics == {"loss": 0.25}
        sys.stdout.write(END)
    # A terminal hands on what was written a little later, and not always at once.
    read = b""
    while not read.endswith(END.encode()):
        read += os.read(ours, 65536)
    os.close(ours)
    shown = read.decode()
    for expected in (
        "epoch 0\r\n",
        "digits: Running, workers 2/2",
        "workers      2/2   step 40",
        "metrics      loss 0.312346",
        "checkpoint   checkpoint_000007 (step 168)",
        "digits   Succeeded   0:00:0",  # what stays on the screen
        "digits: succeeded",
    ):
        assert expected in shown, shown
    # Neither of the agent, in the log of rank 0, nor ours: the table has them.
    assert "step 1:" not in shown
    assert "digits: step 40" not in shown


def test_a_failed_run_raises_with_rank_and_traceback(api: KubeApi) -> None:
    operate(api, {"phase": "Running"}, FAILED)
    with pytest.raises(TrainingFailedError, match="rank 1 failed: ValueError: loss is nan") as failed:
        trainer().fit()
    error = failed.value
    assert (error.rank, error.type, error.reason, error.exit_code) == (1, "ValueError", MAX_RESTARTS_REACHED, 1)
    assert (error.traceback, error.path) == (ERROR["traceback"], "/mnt/shared/runs/digits")
    assert "line 3" in str(error)


def test_a_store_that_only_pods_reach_is_told_and_the_status_stands_in(
    api: KubeApi, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "PATIENCE_S", 0.1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    stored = {"path": "s3://bucket/runs/digits?endpoint_override=http://127.0.0.1:1", "metrics": {"loss": 0.25}}
    link = {"kind": "wandb", "runId": "u", "url": "https://wandb.ai/team/digits/runs/u"}
    operate(api, {"phase": "Succeeded", "result": stored, "tracking": [link]})
    run = Trainer(
        train_fn,
        train_loop_config={"lr": 0.1},
        run_config=RunConfig(name="digits", storage_path="s3://bucket/runs?endpoint_override=http://127.0.0.1:1"),
        backend=Kubernetes(image="i"),
    )
    result = run.fit()
    assert (result.metrics, result.uri) == ({"loss": 0.25}, stored["path"])
    assert result.tracking == [link]
    assert "127.0.0.1:1 cannot be read from here (" in capfd.readouterr().err


def test_a_run_that_is_deleted_meanwhile_raises(api: KubeApi) -> None:
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> Any:
        if method == "GET" and url.endswith("/pods?labelSelector=paceline.dev%2Fjob%3Ddigits"):
            api.jobs.clear()
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]
    with pytest.raises(TrainingFailedError, match="'digits' was deleted") as failed:
        trainer().fit()
    assert failed.value.reason == "Deleted"


def test_ctrl_c_leaves_the_job_and_says_how_to_find_it(
    api: KubeApi, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_drain", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer().fit()
    assert ("ml", "digits") in api.jobs
    told = capfd.readouterr().err
    for words in ("the job goes on", "paceline logs digits -n ml", "paceline delete digits -n ml"):
        assert words in told
    assert "RunHandle.find('digits', namespace='ml').result()" in told


def _interrupt(*_: object) -> Iterator[Any]:
    raise KeyboardInterrupt
    yield


def test_a_handle_waits_finds_and_cancels(api: KubeApi) -> None:
    api.pods = [pod(0, 0, state={"running": {}})]
    api.logs = {"digits-0-0": b"epoch 0\n"}
    handle = trainer(per_pod=2).fit(detach=True)
    assert repr(handle) == "RunHandle('digits', namespace='ml')"
    found = RunHandle.find("digits", namespace="ml")
    assert found.uid == handle.uid
    assert found.status.phase == "Pending"
    assert list(found.logs(1)) == ["epoch 0"]
    with pytest.raises(ValueError, match="rank is 2: digits has the ranks 0 to 1"):
        list(found.logs(2))
    with pytest.raises(TimeoutError, match=r"digits is Pending after 0\.05 s; it goes on"):
        found.wait(0.05)
    api.jobs[("ml", "digits")]["status"] = FAILED
    assert found.wait().phase == "Failed"
    with pytest.raises(TrainingFailedError, match="loss is nan"):
        found.result()
    api.jobs[("ml", "digits")]["status"] = SUCCEEDED
    assert found.result().metrics == {"loss": 0.25}
    found.cancel()
    found.cancel()
    assert api.jobs == {}
    with pytest.raises(NotFoundError, match="digits"):
        _ = handle.status
    with pytest.raises(NotFoundError, match="digits"):
        RunHandle.find("digits", namespace="ml")


def test_a_handle_is_of_one_job_not_of_its_name(api: KubeApi) -> None:
    handle = trainer().fit(detach=True)
    api.jobs[("ml", "digits")]["metadata"]["uid"] = "another"
    with pytest.raises(NotFoundError, match="'digits' was deleted"):
        _ = handle.status
    handle.cancel()
    assert ("ml", "digits") in api.jobs


def test_a_name_that_is_taken_is_refused_with_the_way_out(api: KubeApi) -> None:
    trainer().fit(detach=True)
    api.jobs[("ml", "digits")]["status"] = SUCCEEDED
    before = dict(api.config_maps)
    with pytest.raises(ValueError, match=r"TrainJob 'digits' in namespace 'ml' already \(Succeeded\)") as taken:
        trainer().fit()
    assert "RunHandle.find('digits', namespace='ml')" in str(taken.value)
    assert api.config_maps == before


def test_what_an_earlier_job_left_is_replaced(api: KubeApi) -> None:
    api.config_maps["digits-task"] = {"metadata": {"name": "digits-task"}, "binaryData": {"task": "old"}}
    trainer().fit(detach=True)
    assert api.config_maps["digits-task"]["binaryData"]["task"] != "old"


REFUSALS = {
    "no CRD": (None, ClusterError, "helm install paceline"),
    "forbidden": ((403, "Forbidden", 'User "eve" cannot create'), ClusterError, 'User "eve" cannot create'),
    "no namespace": ((404, "NotFound", 'namespaces "ml" not found'), ValueError, "the namespace has to exist first"),
    "refused by a rule": (
        (422, "Invalid", 'spec.storage.path: Invalid value: "s3:/x" is in no store'),
        ValueError,
        "RunConfig.storage_path: Invalid value",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_nothing_is_created_where_the_cluster_refuses(api: KubeApi, case: str) -> None:
    answer, kind, words = REFUSALS[case]
    if answer is None:
        api.crd = False
    else:
        api.fail_next(*answer)
    with pytest.raises(kind) as refused:
        trainer().fit()
    assert words in str(refused.value)
    assert (api.jobs, api.config_maps) == ({}, {})


def test_a_job_whose_config_map_is_refused_is_taken_back(api: KubeApi) -> None:
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> Any:
        if method == "POST" and "configmaps" in url and "dryRun" not in url:
            api.fail_next(403, "Forbidden", "exceeded quota")
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="exceeded quota"):
        trainer().fit()
    assert api.jobs == {}


def test_a_manifest_holds_no_large_task(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(os.urandom(1 << 20))
    with pytest.raises(ValueError, match=r"a manifest holds 1044480: .* or start the run by fit\(\)"):
        trainer(working_dir=tmp_path).to_manifest()


def test_to_manifest_needs_a_name_and_creates_nothing(api: KubeApi) -> None:
    with pytest.raises(ValueError, match=r"RunConfig\(name="):
        trainer(None).to_manifest()
    assert trainer().to_manifest() == trainer().to_manifest()
    assert api.requests == []


def test_objects_of_this_process_do_not_travel() -> None:
    from pyarrow.fs import LocalFileSystem

    objects = Trainer(
        train_fn,
        run_config=RunConfig(name="d", storage_path="/x", storage_filesystem=LocalFileSystem()),
        backend=Kubernetes(image="i"),
    )
    with pytest.raises(ValueError, match=r"RunConfig\.storage_filesystem is a LocalFileSystem"):
        objects.to_manifest()
    relative = Trainer(train_fn, run_config=RunConfig(name="d", storage_path="runs"), backend=Kubernetes(image="i"))
    with pytest.raises(ValueError, match=r"RunConfig\.storage_path \(or PACELINE_STORAGE\) is 'runs': on a cluster"):
        relative.to_manifest()


def test_without_the_extra_it_is_named_and_a_script_still_imports_and_trains_here() -> None:
    """In a Python that has nothing but the standard library."""
    code = f"""
import subprocess
import sys
sys.path.insert(0, {str(SDK)!r})
from paceline.trainer import Kubernetes, Trainer
def no_run():
    from paceline.trainer import RunHandle
for call in (lambda: Kubernetes(image="i"), no_run):
    try:
        call()
    except ImportError as error:
        print(error)
Trainer(lambda: None)
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a run on Kubernetes needs pydantic: pip install 'paceline[cli]'\n" * 2
