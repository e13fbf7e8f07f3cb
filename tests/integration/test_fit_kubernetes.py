"""Runs on a cluster against a real API server and a real store: what is created, refused, uploaded, found again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from e2e.cluster import Bed
from e2e.cluster.s3 import S3Server
from paceline import train
from paceline.client.errors import ClusterError
from paceline.train import FailureConfig, RunConfig, ScalingConfig
from paceline.trainer import Kubernetes, RunHandle, Trainer
from paceline.trainer.cluster import ending
from tests.support import docs
from tests.support.agents import wait_for
from tests.support.crdserver import crd_server

__all__ = ["crd_server"]


def train_fn(config: dict[str, Any]) -> None:
    train.report({"lr": config["lr"]})


@pytest.fixture
def namespace(crd_server: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"fit-{uuid.uuid4().hex[:6]}"
    crd_server.kubectl("create", "namespace", name)
    monkeypatch.setenv("KUBECONFIG", str(crd_server.kubeconfig))
    monkeypatch.delenv("PACELINE_STORAGE", raising=False)
    yield name
    crd_server.kubectl("delete", "namespace", name, "--wait=false")


def trainer(namespace: str, storage_path: str | None = None, **backend: Any) -> Trainer:
    return Trainer(
        train_fn,
        train_loop_config={"lr": 0.1},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5, "memory": 1 << 30}),
        run_config=RunConfig(name="Digits_1", storage_path=storage_path, failure_config=FailureConfig(2)),
        backend=Kubernetes(image="team/train:1", namespace=namespace, **backend),
    )


def test_a_run_is_created_found_and_cancelled_with_all_that_belongs_to_it(crd_server: Bed, namespace: str) -> None:
    handle = trainer(namespace).fit(detach=True)
    job = _get(crd_server, namespace, "trainjob", "digits-1")
    config_map = _get(crd_server, namespace, "configmap", "digits-1-task")
    assert config_map["immutable"] is True
    assert [o["uid"] for o in config_map["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]
    assert job["spec"]["workers"]["resources"] == {"cpu": "500m", "memory": "1Gi", "gpu": 0}
    assert job["spec"]["failurePolicy"]["maxRestarts"] == 2
    with pytest.raises(ValueError, match=r"TrainJob 'digits-1' in namespace .* already \(Pending\)"):
        trainer(namespace).fit(detach=True)

    found = RunHandle.find("Digits_1", namespace=namespace)
    assert (found.name, found.uid) == (handle.name, handle.uid)
    found.cancel()
    assert crd_server.kubectl("get", "trainjob", "-n", namespace, "-o", "name") == ""
    # The garbage collector has not come by yet, in most cases: the next run takes its place all the same.
    again = trainer(namespace).fit(detach=True)
    config_map = _get(crd_server, namespace, "configmap", "digits-1-task")
    assert [o["uid"] for o in config_map["metadata"]["ownerReferences"]] == [again.uid]
    assert again.uid != handle.uid


def test_the_manifest_is_taken_by_server_side_apply_and_stays_as_it_is(crd_server: Bed, namespace: str) -> None:
    text = trainer(namespace).to_manifest()
    assert [document["kind"] for document in yaml.safe_load_all(text)] == ["ConfigMap", "TrainJob"]
    apply = ("apply", "--server-side", "-f", "-")
    first = crd_server.kubectl(*apply, input=text)
    assert first.count("serverside-applied") == 2
    seen = [_get(crd_server, namespace, *what) for what in _BOTH]
    assert seen[1]["metadata"]["generation"] == 1
    crd_server.kubectl(*apply, input=text)
    again = [_get(crd_server, namespace, *what) for what in _BOTH]
    for found in (*seen, *again):
        found["metadata"].pop("resourceVersion")  # the API server notes when a manager applied
    assert again == seen


_BOTH = (("configmap", "digits-1-task"), ("trainjob", "digits-1"))


def test_rules_of_the_api_server_name_the_arguments(crd_server: Bed, namespace: str) -> None:
    mistakes: dict[str, tuple[dict[str, Any], str | None, str]] = {
        "reserved variable": ({"env": {"RANK": "0"}}, None, "Kubernetes.env"),
        "a bucket that cannot be": ({}, "s3://B", "RunConfig.storage_path"),
        "mounted over the agent": (
            {"credentials": [{"secretRef": {"name": "x"}, "mountPath": "/paceline"}]}, None, "Kubernetes.credentials",
        ),
    }  # fmt: skip
    for name, (backend, path, argument) in mistakes.items():
        with pytest.raises(ValueError) as refused:
            trainer(namespace, path, **backend).fit()
        assert argument in str(refused.value), name
    with pytest.raises(ValueError, match="the namespace has to exist first"):
        trainer("no-such-namespace").fit()
    assert crd_server.kubectl("get", "trainjob,configmap", "-n", namespace, "-o", "name").split() == [
        "configmap/kube-root-ca.crt"
    ]


def test_without_the_right_to_it_nothing_is_created(crd_server: Bed, namespace: str, tmp_path: Path) -> None:
    """A service account may create jobs, and no ConfigMaps: told before there is a job."""
    crd_server.kubectl("-n", namespace, "create", "serviceaccount", "eve")
    crd_server.kubectl(
        "-n", namespace, "create", "role", "jobs", "--verb=create,get,list", "--resource=trainjobs.paceline.dev"
    )
    crd_server.kubectl(
        "-n", namespace, "create", "rolebinding", "jobs", "--role=jobs", f"--serviceaccount={namespace}:eve"
    )
    config = yaml.safe_load(crd_server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": crd_server.kubectl("-n", namespace, "create", "token", "eve").strip()}
    kubeconfig = tmp_path / "eve"
    kubeconfig.write_text(yaml.safe_dump(config))
    with pytest.raises(ClusterError, match=r"(?s)forbidden.*configmaps"):
        trainer(namespace, kubeconfig=kubeconfig).fit()
    assert crd_server.kubectl("get", "trainjob", "-n", namespace, "-o", "name") == ""


def test_a_large_task_and_its_datasets_go_by_way_of_storage_and_the_result_comes_from_there(
    crd_server: Bed, namespace: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"fit-{uuid.uuid4().hex[:6]}"
    s3_server.make_bucket(bucket)
    keys = {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "helper_of_this_run.py").write_text("LR = 0.25\n")
    (tmp_path / "noise.bin").write_bytes(os.urandom(1 << 20))
    path = f"s3://{bucket}/runs?endpoint_override={s3_server.endpoint}"

    def uses_helper() -> None:
        from helper_of_this_run import LR  # type: ignore[import-not-found]

        images, labels = train.get_dataset_shard("images"), train.get_dataset_shard("labels")
        rows = [len(batch["x"]) for batch in images.iter_batches(batch_size=8)]
        print("learning rate", LR, rows, next(iter(labels.iter_batches()))["y"].tolist())

    client = s3_server.client()
    pq.write_table(pa.table({"x": range(12)}), buffer := io.BytesIO())
    client.put_object(Bucket=bucket, Key="data/0.parquet", Body=buffer.getvalue())
    run = Trainer(
        uses_helper,
        datasets={  # the one is read by the pods, with their own keys; the other travels with the function
            "images": f"s3://{bucket}/data/*.parquet?endpoint_override={s3_server.endpoint}",
            "labels": pa.table({"y": [3, 1, 2]}),
        },
        run_config=RunConfig(name="large", storage_path=path),
        backend=Kubernetes(image="i", namespace=namespace, working_dir=tmp_path),
    )
    handle = run.fit(detach=True)
    command = _get(crd_server, namespace, "trainjob", "large")["spec"]["command"]
    task = command[3].partition("?")[0].partition(f"{bucket}/")[2]
    assert s3_server.secret_key.encode() not in client.get_object(Bucket=bucket, Key=task)["Body"].read()
    assert command[3].startswith(f"s3://{bucket}/runs/large/.paceline/task/")
    # What a pod would do, with the variables of spec.storage.secretRef.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ["PATH"], **keys}
    worker = [sys.executable, *command[1:]]
    done = subprocess.run(worker, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("learning rate 0.25 [8, 4] [3, 1, 2]\n", 0), done.stderr
    gone = subprocess.run(
        [*worker[:-1], command[3].replace("task?", "none?")], env=environment, capture_output=True, check=False
    )
    assert gone.returncode == 64
    assert b"Traceback" not in gone.stderr

    client.put_object(Bucket=bucket, Key="runs/large/result.json", Body=b'{"lr": 0.25, "step": 1}\n')
    status = {"status": {"phase": "Succeeded", "result": {"path": path.replace("runs?", "runs/large?")}}}
    crd_server.kubectl(
        "-n", namespace, "patch", "trainjob", "large", "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    assert handle.result().metrics == {"lr": 0.25, "step": 1}


def test_the_page_runs(crd_server: Bed, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no nodes: what an operator would tell of a run that has ended is told by this test."""
    start, find, manifest = docs.python("docs/guides/fit-on-kubernetes.md")
    monkeypatch.chdir(tmp_path)

    def in_this_namespace(block: str) -> str:
        assert 'namespace="ml"' in block
        return block.replace('namespace="ml"', f"namespace={namespace!r}")

    def end() -> None:
        wait_for(lambda: crd_server.kubectl("-n", namespace, "get", "trainjobs", "-o", "name"))
        result = {"path": "s3://bucket/runs/digits", "metrics": {"loss": 1}}
        crd_server.kubectl(
            "-n", namespace, "patch", "trainjob", "digits", "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": {"phase": "Succeeded", "result": result}}),
        )  # fmt: skip

    monkeypatch.setattr(ending, "PATIENCE_S", 0.1)
    names: dict[str, Any] = {"__name__": "__main__"}
    operator = threading.Thread(target=end)
    operator.start()
    exec(in_this_namespace(start), names)
    operator.join()
    assert names["result"].metrics == {"loss": 1}
    job = _get(crd_server, namespace, "trainjob", "digits")
    assert job["spec"]["workers"]["resources"] == {"cpu": "8", "memory": "32Gi", "gpu": 1}
    names["result"] = None
    exec(in_this_namespace(find), names)
    assert names["result"].metrics == {"loss": 1}
    exec(manifest, names)
    written = list(yaml.safe_load_all(Path("digits.yaml").read_text()))
    assert [found["kind"] for found in written] == ["ConfigMap", "TrainJob"]
    assert written[1]["spec"]["command"] == job["spec"]["command"]


def _get(bed: Bed, namespace: str, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bed.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return found
