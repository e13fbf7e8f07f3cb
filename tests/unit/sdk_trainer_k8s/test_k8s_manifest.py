"""A run becomes a ConfigMap and a TrainJob: the whole manifests, and what is refused with the argument's name."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.api import TrainJobSpec
from paceline.train import CheckpointConfig, FailureConfig, SyncConfig
from paceline.trainer import Kubernetes, Volume
from paceline.trainer.cluster import manifest, naming, taskplace
from paceline.trainer.cluster.manifest import Order
from tests.support import golden

SMALL = Order(run="digits", function="train.py:train_fn", python="3.11")
FULL = Order(
    run="Digits_v2",
    framework="torch",
    function="train.py:train_fn",
    python="3.11",
    num_workers=4,
    cpus=1.5,
    memory_bytes=8 << 30,
    gpus=1,
    placement="STRICT_SPREAD",
    accelerator="A100",
    storage_path="s3://bucket/runs?region=eu-west-1",
    resume_from="s3://bucket/runs/other/checkpoint_000003?region=eu-west-1",
    failures=FailureConfig(max_failures=5),
    checkpoints=CheckpointConfig(3, "accuracy"),
    artifacts=SyncConfig(sync_period=12.5, sync_artifacts=True),
)
EVERYTHING: dict[str, Any] = {
    "image": "team/train:1",
    "namespace": "ml",
    "storage_secret": "s3-keys",
    "credentials": [
        "wandb",
        {"secretRef": {"name": "netrc"}, "mountPath": "/etc/netrc", "env": {"NETRC": "/etc/netrc"}},
    ],
    "env": {"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}, "LR": "0.1"},
    "per_pod": 2,
    "gpu_resource": "amd.com/gpu",
    "shared_memory": "2Gi",
    "pod_template": {
        "metadata": {"labels": {"team": "vision"}},
        "spec": {
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [
                {"name": "sidecar", "image": "side:1"},
                {"name": "worker", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            ],
        },
    },
    "image_pull_policy": "IfNotPresent",
    "active_deadline_seconds": 3600,
    "ttl_seconds_after_finished": 600,
    "labels": {"kueue.x-k8s.io/queue-name": "gpus"},
    "spec": {"scheduling": {"gang": "None"}, "failurePolicy": {"maxPreemptions": 4}},
}


def objects(order: Order, backend: Kubernetes) -> list[dict[str, Any]]:
    return [manifest.config_map(order, backend, {"task": b"a task"}), manifest.trainjob(order, backend)]


@pytest.mark.parametrize(
    ("name", "order", "backend"),
    [
        pytest.param("fit-smallest", SMALL, {"image": "team/train:1"}, id="smallest"),
        pytest.param("fit-everything", FULL, EVERYTHING, id="everything"),
        pytest.param(
            "fit-on-a-volume",
            Order(run="digits", num_workers=2, storage_path="/mnt/shared/runs"),
            {"image": "team/train:1", "volume": Volume("shared", "/mnt/shared", "team-a")},
            id="volume",
        ),
    ],
)
def test_the_manifests_of_a_run(
    name: str, order: Order, backend: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    made = objects(order, Kubernetes(**backend))
    assert made == objects(order, Kubernetes(**backend))
    TrainJobSpec.model_validate(made[1]["spec"])
    golden.check(name, made, update=request.config.getoption("--update-golden"))


def test_an_uploaded_task_needs_no_mount() -> None:
    spec = manifest.trainjob(FULL, Kubernetes(image="i"), uploaded="s3://b/d/.paceline/task/0a?region=r")["spec"]
    assert spec["command"] == ["python3", "-m", "paceline.trainer.worker", "s3://b/d/.paceline/task/0a/task?region=r"]
    assert "podTemplate" not in spec


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "image with a space": ({"image": "a b"}, ["Kubernetes.image", "'a b'"]),
    "image empty": ({"image": " "}, ["Kubernetes.image", "empty"]),
    "image missing": ({"image": None}, ["Kubernetes.image", "NoneType"]),
    "number in env": ({"env": {"LR": 1}}, ["Kubernetes.env['LR']", "pass a text"]),
    "env twice defined": ({"env": {"LR": {"valueFrm": {}}}}, ["Kubernetes.env[0].valueFrm", "value, valueFrom"]),
    "one secret as text": ({"credentials": "wandb"}, ["Kubernetes.credentials", "['wandb']"]),
    "credential misspelt": ({"credentials": [{"secret": "x"}]}, ["Kubernetes.credentials[0].secret", "secretRef"]),
    "per_pod 0": ({"per_pod": 0}, ["Kubernetes.per_pod is 0"]),
    "shared memory": ({"shared_memory": "8 GB"}, ["Kubernetes.shared_memory", "'8 GB'", "16Gi"]),
    "volume as text": ({"volume": "claim"}, ["Kubernetes.volume", "Volume("]),
    "pull policy": ({"image_pull_policy": "never"}, ["Kubernetes.image_pull_policy", "'never'", "'Never'"]),
    "pod template": (
        {"pod_template": {"spec": {"containers": [{"name": "worker", "command": ["sh"]}]}}},
        ["Kubernetes.pod_template.spec.containers[0].command", "['sh']"],
    ),
    "owned field": ({"pod_template": {"spec": {"hostname": "x"}}}, ["Kubernetes.pod_template.spec.hostname", "remove"]),
    "unknown spec": ({"spec": {"schedling": {}}}, ["Kubernetes.spec.schedling", "scheduling"]),
    "ttl": ({"ttl_seconds_after_finished": 0}, ["Kubernetes.ttl_seconds_after_finished is 0", "60"]),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_shows_where_it_is_made(mistake: str) -> None:
    given, told = REFUSED[mistake]
    with pytest.raises((TypeError, ValueError)) as refused:
        Kubernetes(**{"image": "team/train:1", **given})
    assert [word for word in told if word not in str(refused.value)] == []
    assert "spec.podTemplate" not in str(refused.value)


ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "local path": ({"storage_path": "/home/me/runs"}, {}, ["storage_path (or PACELINE_STORAGE) is '/home/me"]),
    "local checkpoint": ({"resume_from": "/tmp/checkpoint"}, {}, ["resume_from_checkpoint is '/tmp/checkpoint'", "s3://"]),
    "path beside the volume": (
        {"storage_path": "/other"}, {"volume": Volume("c", "/mnt")}, ["Kubernetes.volume", "'/other'", "/mnt/runs"],
    ),
    "volume without path": ({}, {"volume": Volume("c", "/mnt")}, ["RunConfig.storage_path is None", "/mnt/runs"]),
    "secret without store": ({}, {"storage_secret": "keys"}, ["Kubernetes.storage_secret", "'keys'", "s3://"]),
    "name": ({"run": "my run"}, {}, ["RunConfig.name is 'my run'", "letters"]),
    "pods not full": ({"num_workers": 3}, {"per_pod": 2}, ["ScalingConfig.num_workers is 3", "multiple of 2"]),
    "hardly a CPU": ({"cpus": 0.0001}, {}, ['resources_per_worker["CPU"] is 0.0001', "0.001"]),
    "too many workers": ({"num_workers": 20_000}, {}, ["ScalingConfig.num_workers", "20000"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ORDERS)
def test_what_does_not_fit_together_is_refused_before_anything_is_asked(mistake: str) -> None:
    order, backend, told = ORDERS[mistake]
    with pytest.raises(ValueError) as refused:
        manifest.trainjob(Order(**{"run": "digits", **order}), Kubernetes(image="i", **backend))
    assert [word for word in told if word not in str(refused.value)] == []


def test_a_path_on_a_volume_of_the_pod_template_is_taken() -> None:
    mounts = [{"name": "d", "mountPath": "/data"}]
    template = {"spec": {"volumes": [{"name": "d"}], "containers": [{"name": "worker", "volumeMounts": mounts}]}}
    made = manifest.trainjob(
        Order(run="digits", storage_path="/data/runs"), Kubernetes(image="i", pod_template=template)
    )
    assert made["spec"]["storage"] == {"path": "/data/runs", "name": "digits"}


@pytest.mark.parametrize(
    ("run", "job"),
    [
        ("digits", "digits"),
        ("Digits_v2.1", "digits-v2-1"),
        ("2026-run", "run-2026-run"),
        ("n" * 50, "n" * 50),
        ("n" * 51, "n" * 43 + "-9feeed"),
    ],
)
def test_the_job_is_called_as_the_run(run: str, job: str) -> None:
    assert naming.job_name(run) == job
    assert naming.job_name(job) == job, "a job is found by its own name too"


def test_long_names_that_differ_at_their_end_are_two_jobs() -> None:
    assert naming.job_name("n" * 60 + "a") != naming.job_name("n" * 60 + "b")


def test_a_task_goes_into_a_config_map_or_into_storage() -> None:
    backend = Kubernetes(image="i")
    small, large = {"task": b"x" * 1000}, {"task": b"x" * (1 << 20)}
    stored = Order(run="digits", storage_path="s3://b/runs?region=r")
    assert taskplace.directory(stored, backend, small) is None
    place = taskplace.directory(stored, backend, large)
    assert place is not None
    assert place.startswith("s3://b/runs/digits/.paceline/task/")
    assert place.endswith("?region=r")
    assert place == taskplace.directory(stored, backend, dict(large))
    assert place != taskplace.directory(stored, backend, {**large, "working_dir.zip": b""})
    with pytest.raises(ValueError, match=r"task of 1048576 bytes.*RunConfig\(storage_path="):
        taskplace.directory(Order(run="digits"), backend, large)


def test_a_frameworks_variables_stand_in_the_job_unless_the_user_has_set_them() -> None:
    order = Order(run="digits", framework="tensorflow", variables={"TF_USE_LEGACY_KERAS": "0"})
    env: dict[str, Any] = {"LR": "0.1"}
    made = [{"name": "TF_USE_LEGACY_KERAS", "value": "0"}, {"name": "LR", "value": "0.1"}]
    assert manifest.trainjob(order, Kubernetes(image="i", env=env))["spec"]["env"] == made
    own = Kubernetes(image="i", env={"TF_USE_LEGACY_KERAS": "1"})
    assert manifest.trainjob(order, own)["spec"]["env"] == [{"name": "TF_USE_LEGACY_KERAS", "value": "1"}]
