"""Whole manifests are golden files; here stand the promises behind single fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.api import names
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import tensorboard
from paceline_operator.resources.pod import AttemptPods
from paceline_operator.resources.podgroup import pod_group
from paceline_operator.resources.service import service
from tests.support import golden
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

CONFIG = JobDefaults(
    agent_image="paceline/operator:1",
    agent_image_pull_policy="IfNotPresent",
    storage_path="s3://default/runs",
    storage_secret="default-s3",
    accelerators={"A100": {"gpu.vendor/product": "A100"}},
)


def manifest(job: TrainJobBuilder, index: int = 0, attempt: int = 0, config: JobDefaults = CONFIG) -> dict[str, Any]:
    return AttemptPods(job.obj(), attempt, config).pod(index)


def worker(job: TrainJobBuilder, index: int = 0, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = manifest(job, index, **options)["spec"]["containers"][0]
    return found


def env(job: TrainJobBuilder, index: int = 0, **options: Any) -> dict[str, Any]:
    return {item["name"]: item.get("value") for item in worker(job, index, **options)["env"]}


GOLDEN = {
    "pod-smallest": (make_trainjob(), 0),
    "pod-torch-two-by-two": (
        make_trainjob()
        .framework("torch")
        .workers(4)
        .per_pod(2)
        .resources(cpu="2", memory="4Gi", gpu=1)
        .accelerator("A100")
        .shared_memory("2Gi")
        .storage("s3://b/p", secret="s3-credentials")
        .credential("wandb")
        .credential(
            "databricks", mount_path="/etc/databricks", env={"DATABRICKS_CONFIG_FILE": "/etc/databricks/config"}
        )
        .checkpoints(keep=2, scoreAttribute="loss", scoreOrder="min"),
        1,
    ),
    "pod-tensorflow-on-a-volume": (
        make_trainjob()
        .framework("tensorflow")
        .workers(2)
        .storage("/mnt/runs")
        .volume("shared", "/mnt", sub_path="team")
        .set(imagePullPolicy="Always")
        .inject_agent(False),
        1,
    ),
    "pod-with-trackers": (
        make_trainjob()
        .env(WANDB_MODE="online")
        .storage("s3://b/p")
        .credential("wandb")
        .credential("databricks", mount_path="/etc/databricks", as_env=True)
        .tracking(
            wandb={"project": "digits", "entity": "team", "mode": "offline"},
            mlflow={"trackingUri": "http://mlflow:5000", "experiment": "digits"},
            comet={},
            preflight=False,
        ),
        0,
    ),
    "pod-on-google-cloud-storage": (
        make_trainjob()
        .storage("gs://b/p", secret="gcs", key="sa.json")
        .checkpoints(maxPending=1)
        .artifacts(sync=True, periodSeconds=60, onCheckpoint=False),
        0,
    ),
    "pod-with-template": (
        make_trainjob()
        .workers(2)
        .placement("StrictSpread")
        .env(A="1")
        .scheduling(priorityClassName="p", schedulerName="s")
        .credential("maybe", mount_path="/opt/c", optional=True)
        .set(envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "X_"}])
        .pod_template(
            {
                "terminationGracePeriodSeconds": 120,
                "serviceAccountName": "trainer",
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "securityContext": {"runAsUser": 0, "runAsNonRoot": False},
                "containers": [
                    {"name": "sidecar", "image": "log:1"},
                    {
                        "name": "worker",
                        "env": [{"name": "A", "value": "2"}],
                        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
                    },
                ],
                "volumes": [{"name": "d", "emptyDir": {}}],
            },
            labels={"team": "a"},
            annotations={"note": "n"},
        ),
        0,
    ),
}


def lost(cause: str = "PodUnreachable", attempt: int = 0, node: str | None = "node-7") -> dict[str, Any]:
    return {"attempt": attempt, "time": "2026-01-02T03:04:05Z", "cause": cause, "rank": 1, "node": node}


GOLDEN["pod-after-a-lost-node"] = (make_trainjob().workers(2).status(attempt=1, history=[lost()]), 0)


@pytest.mark.parametrize("name", GOLDEN)
def test_manifests_are_as_read_in_review(name: str, request: pytest.FixtureRequest) -> None:
    job, index = GOLDEN[name]
    golden.check(name, manifest(job, index, attempt=1), update=request.config.getoption("--update-golden"))


TENSORBOARDS = {
    "tensorboard": make_trainjob().storage("s3://b/p", secret="s3").pod_template({"serviceAccountName": "trainer"}),
    "tensorboard-on-a-volume": make_trainjob()
    .storage("/mnt/runs", name="run-3")
    .volume("shared", "/mnt", sub_path="team")
    .set(imagePullPolicy="Always", tracking={"tensorboard": {"serve": True, "image": "tensorboard:2"}})
    .inject_agent(False),
    "tensorboard-on-google-cloud-storage": make_trainjob()
    .storage("gs://b/p", secret="gcs")
    .set(imagePullPolicy="Never"),
}


@pytest.mark.parametrize("name", TENSORBOARDS)
def test_the_tensorboard_of_a_run_is_as_read_in_review(name: str, request: pytest.FixtureRequest) -> None:
    job = TENSORBOARDS[name].obj()
    made = [tensorboard.deployment(job, CONFIG), tensorboard.service(job)]
    golden.check(name, made, update=request.config.getoption("--update-golden"))


def test_the_service_of_the_workers_does_not_find_their_tensorboard() -> None:
    job = make_trainjob("a" * 50).obj()
    labels = tensorboard.deployment(job, CONFIG)["spec"]["template"]["metadata"]["labels"]
    workers = service(job)["spec"]["selector"]
    assert not workers.items() <= labels.items()
    assert tensorboard.service(job)["spec"]["selector"].items() <= labels.items()
    assert len(tensorboard.name(job)) <= 63


def test_without_pod_security_a_tensorboard_has_no_security_context() -> None:
    made = tensorboard.deployment(make_trainjob().storage("s3://b").obj(), JobDefaults(pod_security="none"))
    assert "securityContext" not in json.dumps(made)


@pytest.mark.parametrize("trackers", [{}, {"preflight": False}, {"tensorboard": {"serve": True}}])
def test_without_a_tracker_the_agent_is_told_of_none(trackers: dict[str, Any]) -> None:
    assert "PACELINE_TRACKING" not in env(make_trainjob().tracking(**trackers))


def test_a_tracker_with_all_its_defaults_is_told_as_an_empty_object() -> None:
    assert json.loads(env(make_trainjob().tracking(wandb={}))["PACELINE_TRACKING"]) == {"wandb": {}, "preflight": True}


def test_the_service_is_as_read_in_review(request: pytest.FixtureRequest) -> None:
    golden.check("service", service(make_trainjob().obj()), update=request.config.getoption("--update-golden"))


def test_the_pod_group_is_as_read_in_review(request: pytest.FixtureRequest) -> None:
    job = make_trainjob().workers(4).per_pod(2).placement("StrictPack").scheduling(priorityClassName="high")
    golden.check("podgroup", pod_group(job.obj(), 1), update=request.config.getoption("--update-golden"))


def test_a_pod_group_asks_for_no_more_than_the_job_does() -> None:
    plain = pod_group(make_trainjob().workers(2).obj(), 0)["spec"]
    assert plain == {"schedulingPolicy": {"gang": {"minCount": 2}}, "disruptionMode": "PodGroup"}
    over = make_trainjob().workers(2).scheduling(priorityClassName="p").pod_template({"priorityClassName": "q"})
    assert pod_group(over.obj(), 0)["spec"]["priorityClassName"] == "q"


def test_pods_name_their_group_where_there_is_one_and_the_users_own_stays() -> None:
    job = make_trainjob().workers(2)
    assert "schedulingGroup" not in manifest(job)["spec"]
    grouped = AttemptPods(job.obj(), 3, CONFIG, grouped=True).pod(1)
    assert grouped["spec"]["schedulingGroup"] == {"podGroupName": "digits-3"}
    own = job.pod_template({"schedulingGroup": {"podGroupName": "mine"}})
    assert manifest(own)["spec"]["schedulingGroup"] == {"podGroupName": "mine"}


def test_ranks_are_those_of_the_first_process() -> None:
    job = make_trainjob().workers(6).per_pod(2)
    found = env(job, 2, attempt=3)
    assert (found["RANK"], found["NODE_RANK"], found["GROUP_RANK"], found["LOCAL_RANK"]) == ("4", "2", "2", "0")
    assert (found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == ("6", "2")
    assert found["MASTER_ADDR"] == "digits-3-0.digits"
    assert found["PACELINE_LEAD"] == "digits-3-0.digits:8470"
    assert found["PACELINE_ATTEMPT"] == "3"


def test_tf_config_lists_every_process_with_a_port_of_its_own() -> None:
    config = json.loads(env(make_trainjob().framework("tensorflow").workers(4).per_pod(2), 1)["TF_CONFIG"])
    assert config["cluster"]["worker"] == [
        "digits-0-0.digits:2222",
        "digits-0-0.digits:2223",
        "digits-0-1.digits:2222",
        "digits-0-1.digits:2223",
    ]
    assert config["task"] == {"type": "worker", "index": 2}
    assert "TF_CONFIG" not in env(make_trainjob().framework("torch"))


def test_the_users_env_wins_over_comfort_but_not_over_ranks() -> None:
    job = make_trainjob().env(OMP_NUM_THREADS="7", HOME="/root", RANK="9").credential("c", env={"A": "c", "B": "c"})
    job = job.env(A="user")
    found = env(job)
    assert (found["OMP_NUM_THREADS"], found["HOME"], found["RANK"]) == ("7", "/root", "0")
    assert (found["A"], found["B"]) == ("user", "c")
    listed = [item["name"] for item in worker(job)["env"]]
    assert len(listed) == len(set(listed))


def test_a_secrets_value_stays_a_reference() -> None:
    listed = worker(make_trainjob().env_from_secret("TOKEN", "hub", "token"))["env"]
    assert {
        "name": "TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token", "optional": False}},
    } in listed


def test_the_default_secret_is_shown_to_the_default_store_alone() -> None:
    assert worker(make_trainjob())["envFrom"] == [{"secretRef": {"name": "default-s3"}}]
    assert env(make_trainjob())["PACELINE_STORAGE_PATH"] == "s3://default/runs"
    assert worker(make_trainjob().storage("s3://mine"))["envFrom"] == []
    assert "PACELINE_STORAGE_PATH" not in env(make_trainjob(), config=JobDefaults())


def key_file(job: TrainJobBuilder, **options: Any) -> tuple[str, str] | None:
    """The Secret and its key that the worker finds where GOOGLE_APPLICATION_CREDENTIALS points."""
    named = env(job, **options).get("GOOGLE_APPLICATION_CREDENTIALS")
    directory = "/var/run/secrets/paceline.dev/storage"
    mounts = [mount for mount in worker(job, **options)["volumeMounts"] if mount["mountPath"] == directory]
    if not mounts:
        assert named is None
        return None
    assert named == f"{directory}/key.json"
    assert mounts[0]["readOnly"] is True
    (volume,) = [v for v in manifest(job, **options)["spec"]["volumes"] if v["name"] == mounts[0]["name"]]
    ((item,), secret) = volume["secret"]["items"], volume["secret"]["secretName"]
    assert item["path"] == "key.json"
    return secret, item["key"]


GOOGLE = JobDefaults(storage_path="gs://default/runs", storage_secret="default-gcs", storage_secret_key="sa.json")


@pytest.mark.parametrize(
    ("job", "config", "variables", "file"),
    [
        pytest.param(make_trainjob().storage("s3://b", secret="s"), CONFIG, "s", None, id="S3"),
        pytest.param(make_trainjob().storage("hdfs://h:1/d", secret="s"), CONFIG, "s", None, id="HDFS"),
        pytest.param(make_trainjob().storage("gs://b", secret="s"), CONFIG, None, ("s", "key.json"), id="GCS"),
        pytest.param(make_trainjob().storage("gcs://b", secret="s", key="k"), CONFIG, None, ("s", "k"), id="GCS, key"),
        pytest.param(make_trainjob().storage("gs://b"), CONFIG, None, None, id="GCS by the pod's own identity"),
        pytest.param(make_trainjob(), GOOGLE, None, ("default-gcs", "sa.json"), id="GCS by default"),
        pytest.param(make_trainjob().storage("s3://b"), GOOGLE, None, None, id="another store than the default"),
        pytest.param(
            make_trainjob().set(storage={"secretRef": {"name": "mine"}}), GOOGLE, None, ("mine", "key.json"),
            id="a Secret of the job's for the default store",
        ),
    ],
)  # fmt: skip
def test_a_stores_secret_is_variables_or_for_google_a_file(
    job: TrainJobBuilder, config: JobDefaults, variables: str | None, file: tuple[str, str] | None
) -> None:
    sources = [source["secretRef"]["name"] for source in worker(job, config=config)["envFrom"]]
    assert sources == ([] if variables is None else [variables])
    assert key_file(job, config=config) == file


def test_the_users_own_google_credentials_win() -> None:
    job = make_trainjob().storage("gs://b", secret="s").env(GOOGLE_APPLICATION_CREDENTIALS="/mine.json")
    assert env(job)["GOOGLE_APPLICATION_CREDENTIALS"] == "/mine.json"


def test_artifacts_reach_the_agent_only_when_they_are_to_be_stored() -> None:
    assert "PACELINE_ARTIFACTS" not in env(make_trainjob().artifacts(periodSeconds=5))
    assert json.loads(env(make_trainjob().artifacts(sync=True))["PACELINE_ARTIFACTS"]) == {
        "sync": True,
        "periodSeconds": 300,
        "timeoutSeconds": 1800,
        "onCheckpoint": True,
    }
    assert json.loads(env(make_trainjob())["PACELINE_CHECKPOINTS"]) == {"maxPending": 2}


def test_gpus_and_cpus_of_a_pod_are_those_of_its_workers() -> None:
    job = make_trainjob().workers(4).per_pod(4).resources(cpu="500m", gpu=2).gpu_resource("amd.com/gpu")
    assert worker(job)["resources"]["limits"] == {"cpu": "2000m", "amd.com/gpu": "8"}
    assert "resources" not in worker(make_trainjob())


@pytest.mark.parametrize(
    ("placement", "kind", "strength"),
    [
        ("Pack", "podAffinity", "preferred"),
        ("StrictPack", "podAffinity", "required"),
        ("Spread", "podAntiAffinity", "preferred"),
        ("StrictSpread", "podAntiAffinity", "required"),
    ],
)
def test_placement(placement: str, kind: str, strength: str) -> None:
    affinity = manifest(make_trainjob().workers(2).placement(placement))["spec"]["affinity"]
    assert list(affinity) == [kind]
    assert list(affinity[kind]) == [f"{strength}DuringSchedulingIgnoredDuringExecution"]


def test_restricted_is_the_default_and_none_sets_nothing() -> None:
    restricted = manifest(make_trainjob())["spec"]
    assert restricted["securityContext"]["runAsUser"] == 1000
    for container in (*restricted["containers"], *restricted["initContainers"]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    free = manifest(make_trainjob(), config=JobDefaults(pod_security="none"))["spec"]
    assert "securityContext" not in free
    assert "securityContext" not in free["containers"][0]
    assert "imagePullPolicy" not in free["initContainers"][0]


def test_pods_get_no_token() -> None:
    assert manifest(make_trainjob())["spec"]["automountServiceAccountToken"] is False


def test_the_grace_that_the_agent_hears_is_the_pods() -> None:
    job = make_trainjob().pod_template({"terminationGracePeriodSeconds": 300})
    assert env(job)["PACELINE_GRACE_SECONDS"] == "300"
    assert manifest(job)["spec"]["terminationGracePeriodSeconds"] == 300
    assert env(make_trainjob())["PACELINE_GRACE_SECONDS"] == "30"


def test_variables_of_the_template_reach_the_worker() -> None:
    job = make_trainjob().pod_template(
        {"containers": [{"name": "side"}, {"name": "worker", "env": [{"name": "Z", "value": "1"}]}]}
    )
    assert env(job)["Z"] == "1"
    without = make_trainjob().pod_template({"containers": [{"name": "worker", "tty": True}]})
    assert worker(without)["tty"] is True


def test_labels_of_the_template_do_not_touch_ours() -> None:
    job = make_trainjob().pod_template(labels={"team": "a", names.LABEL_JOB: "other"})
    assert manifest(job)["metadata"]["labels"]["team"] == "a"
    assert manifest(job)["metadata"]["labels"][names.LABEL_JOB] == "digits"


AWAY = {
    "weight": 100,
    "preference": {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-7"]}]},
}


@pytest.mark.parametrize(
    ("history", "attempt", "expected"),
    [
        pytest.param([], 0, None, id="first attempt"),
        pytest.param([lost()], 1, [AWAY], id="unreachable"),
        pytest.param([lost("NodeLost")], 1, [AWAY], id="lost"),
        pytest.param([lost("WorkerFailed")], 1, None, id="no fault of the node"),
        pytest.param([lost("PodEvicted")], 1, None, id="drained: the node is closed to new pods anyway"),
        pytest.param([lost(node=None)], 1, None, id="node not known"),
        pytest.param([lost(), lost("WorkerFailed", 1)], 2, None, id="another failure since"),
        pytest.param([lost()], 2, None, id="a suspension since"),
    ],
)
def test_pods_prefer_other_nodes_than_the_one_just_lost(
    history: list[dict[str, Any]], attempt: int, expected: list[dict[str, Any]] | None
) -> None:
    spec = manifest(make_trainjob().status(attempt=attempt, history=history), attempt=attempt)["spec"]
    of_nodes = spec.get("affinity", {}).get("nodeAffinity", {})
    assert of_nodes.get("preferredDuringSchedulingIgnoredDuringExecution") == expected


def test_the_lost_node_is_avoided_beside_the_affinity_of_the_template() -> None:
    zone = {"weight": 7, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}
    must = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    preferred, required = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("preferred", "required"))
    job = make_trainjob().workers(2).placement("Spread").status(attempt=1, history=[lost()])
    job = job.pod_template({"affinity": {"nodeAffinity": {preferred: [zone], required: must}}})
    affinity = manifest(job, attempt=1)["spec"]["affinity"]
    assert affinity["nodeAffinity"] == {preferred: [zone, AWAY], required: must}
    assert list(affinity["podAntiAffinity"]) == [preferred]
    alone = manifest(make_trainjob().status(attempt=1, history=[lost()]).pod_template({"affinity": None}), attempt=1)
    assert alone["spec"]["affinity"] == {"nodeAffinity": {preferred: [AWAY]}}
