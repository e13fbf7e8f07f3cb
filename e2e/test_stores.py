"""The overview example on S3, Google Cloud Storage, HDFS and a volume, through an outage, and with every usual mistake.

All jobs run side by side; the tests look at what they left. Stores are read by other clients than those that wrote.
"""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import google_crc32c
import pytest

from e2e.cluster import Bed, hadoop
from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import HdfsServer
from e2e.cluster.images import OPERATOR_IMAGE, TORCH_IMAGE
from e2e.google import TokenServer, token_server
from e2e.jobs import SECRET, Object, Workspace, load_example, script_maps
from e2e.kube import wait_for
from e2e.stack import Stack
from e2e.stored import OnDisk, OnGcs, OnHdfs, OnS3, Stored

pytestmark = pytest.mark.cluster
# All jobs together start some twenty pods on whatever this machine has.
RUN_S = 180
# The agent tries the store for this long before it gives up, where that may pass.
TOLD_S = 120
ITERATIONS = range(10)
MANIFESTS = {
    "s3": "trainjob.yaml",
    "gcs": "trainjob-gcs.yaml",
    "hdfs": "trainjob-hdfs.yaml",
    "pvc": "trainjob-pvc.yaml",
}
needs_java = pytest.mark.skipif(bool(hadoop.missing()), reason=hadoop.missing())
every_store = pytest.mark.parametrize("store", ["s3", "gcs", pytest.param("hdfs", marks=needs_java), "pvc", "outage"])


@dataclass(frozen=True, slots=True)
class Running:
    """All jobs of this module, on their way."""

    space: Workspace
    tokens: TokenServer
    told_of_late_key: str
    stored: dict[str, Stored]


@pytest.fixture(scope="module")
def running(stack: Stack, real_nodes: Bed, gcs: GcsServer, hdfs: HdfsServer | None) -> Iterator[Running]:
    """Submit every job at once; kill the S3 server in the middle of them."""
    space = Workspace.create(stack, real_nodes.s3, f"stores-{uuid.uuid4().hex[:6]}")
    run = space.namespace
    folder = real_nodes.shared_volume("shared", run)
    bucket = gcs.make_bucket(run).removeprefix("gs://")
    options = f"?endpoint_override={gcs.endpoint}"
    paths: dict[str, Object] = {
        "s3": {"path": space.storage_path, "secretRef": {"name": SECRET}},
        "gcs": {"path": f"gs://{bucket}/runs{options}", "secretRef": {"name": "gcs"}},
        "pvc": {"path": "/mnt/shared/runs", "volume": {"claimName": "shared", "mountPath": "/mnt/shared"}},
    }
    stored: dict[str, Stored] = {
        "s3": OnS3(space.s3, space.bucket, "runs/overview-s3/"),
        "outage": OnS3(space.s3, space.bucket, "runs/overview-outage/"),
        "gcs": OnGcs(gcs.endpoint, bucket, "runs/overview-gcs/"),
        "pvc": OnDisk(folder / "runs/overview-pvc"),
    }
    if hdfs is not None:
        home = hdfs.make_directory(f"/user/{hdfs.user}")
        paths["hdfs"] = {"path": f"{hdfs.hdfs_uri}{home}/{run}?user={hdfs.user}"}
        stored["hdfs"] = OnHdfs(hdfs.endpoint, f"{home}/{run}/overview-hdfs", hdfs.user)
    with token_server(real_nodes.host_address) as tokens:
        space.secret("gcs", **{"key.json": tokens.key_file(), "note": "not for the pods"})
        space.secret("gcs-unknown", **{"service-account.json": tokens.key_file(known=False)})
        space.submit(*script_maps("output-overview"))
        space.submit(*(overview(f"overview-{store}", paths[store], MANIFESTS[store]) for store in paths))
        slow = overview("overview-outage", paths["s3"])
        slow["spec"]["args"] = ["--pause-seconds", "1"]
        space.submit(slow, *mistakes(paths, f"gs://no-such-{run}/runs{options}"))
        with ThreadPoolExecutor(2) as threads:
            outage = threads.submit(kill_s3, space)
            late_key = threads.submit(bring_late_key, space, tokens)
            outage.result()
        yield Running(space, tokens, late_key.result(), stored)
    space.delete()


def kill_s3(space: Workspace) -> None:
    """Take the S3 server away for a while, once the job `overview-outage` is in the middle."""
    commit = "runs/overview-outage/checkpoint_000002/.paceline.json"
    # Not by the status, which is some seconds behind.
    wait_for("the third checkpoint", lambda: commit in space.objects_on_storage() or None, timeout_s=RUN_S)
    space.s3.kill()
    time.sleep(3)
    space.s3.start()


def bring_late_key(space: Workspace, tokens: TokenServer) -> str:
    """Add the key that `gcs-late-key` waits for, once it has said so; return its words."""

    def missing() -> str | None:
        conditions = space.status("gcs-late-key").get("conditions", [])
        return next((str(c["message"]) for c in conditions if c["reason"] == "MissingSecret"), None)

    told = wait_for("the missing key to be named", missing, timeout_s=TOLD_S, seen=lambda: space.tell("gcs-late-key"))
    # With the other one again: a Secret is replaced as a whole.
    space.secret("gcs", **{"key.json": tokens.key_file(), "late.json": tokens.key_file()})
    return told


def overview(name: str, storage: Object, manifest: str = "trainjob.yaml") -> Object:
    """The example's job, with a name and a storage of its own."""
    job = load_example("output-overview", manifest)
    # What differs from the example is where the servers of this test are.
    assert manifest == "trainjob.yaml" or job["spec"]["storage"].keys() == storage.keys()
    job["metadata"] = {"name": name}
    # S3 needs nothing of an image but Python: the client and the compiled checksum come with the agent.
    job["spec"] |= {"image": OPERATOR_IMAGE if name == "overview-s3" else TORCH_IMAGE, "storage": storage}
    job["spec"]["workers"]["resources"] = {"memory": "512Mi"}
    return job


# What is wrong, and what the user reads.
TOLD = {
    "gcs-unknown-key": ("StorageError", ["gs://", "GOOGLE_APPLICATION_CREDENTIALS"]),
    "gcs-no-bucket": ("StorageError", ["no-such-", "allow_bucket_creation"]),
    "read-only": ("StorageError", ["/mnt/shared/runs", "read-only"]),
    "not-shared": ("StorageError", ["/scratch/runs is not shared", "spec.storage.volume"]),
    "alone": ("InvalidSpec", ["/tmp/runs", "on no volume that the 2 pods share"]),
    "no-gcsfs": ("StorageError", ["gcsfs", "paceline[gcs]"]),
    "no-hdfs-native": ("StorageError", ["hdfs-native", "paceline[hdfs]"]),
    "unknown-option": ("InvalidConfig", ["endpoint", "endpoint_override"]),
}


def mistakes(paths: dict[str, Object], no_bucket: str) -> Iterator[Object]:
    """A job for each mistake, and one that waits for a key in its Secret."""
    wrong: dict[str, Object] = {
        "gcs-unknown-key": paths["gcs"] | {"secretRef": {"name": "gcs-unknown", "key": "service-account.json"}},
        "gcs-no-bucket": paths["gcs"] | {"path": no_bucket},
        "gcs-late-key": paths["gcs"] | {"secretRef": {"name": "gcs", "key": "late.json"}},
        "read-only": paths["pvc"],
        "not-shared": {"path": "/scratch/runs"},
        "alone": {"path": "/tmp/runs"},
        "no-gcsfs": paths["gcs"],
        "no-hdfs-native": {"path": "hdfs://namenode:8020/runs"},
        "unknown-option": {"path": "gs://bucket/runs?endpoint=http://elsewhere"},
    }
    for name, storage in wrong.items():
        job = overview(name, storage)
        job["spec"]["workers"]["count"] = 2 if name in ("not-shared", "alone") else 1
        job["spec"]["failurePolicy"] = {"maxRestarts": 0 if name == "not-shared" else 3}
        if name.startswith("no-"):
            # Some image with Python that has no client of this store.
            job["spec"]["image"] = OPERATOR_IMAGE
        pod = job["spec"]["podTemplate"]["spec"]
        mounts = pod["containers"][0]["volumeMounts"]
        if name == "read-only":
            mounts.append({"name": "paceline-storage", "mountPath": "/mnt/shared", "readOnly": True})
        if name == "not-shared":
            mounts.append({"name": "scratch", "mountPath": "/scratch"})
            pod["volumes"].append({"name": "scratch", "emptyDir": {}})
        yield job


@pytest.fixture(scope="module")
def finished(running: Running) -> Running:
    """Wait for the jobs that succeed."""
    names = [f"overview-{name}" for name in running.stored]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: running.space.wait_phase(name, "Succeeded", timeout_s=RUN_S), names))
    return running


@every_store
def test_every_checkpoint_is_there_and_whole(finished: Running, store: str) -> None:
    stored = finished.stored[store]
    sizes = stored.sizes()
    for i in ITERATIONS:
        directory = f"checkpoint_{i:06}"
        inside = {name.removeprefix(f"{directory}/"): size for name, size in sizes.items() if directory in name}
        commit = json.loads(stored.read(f"{directory}/.paceline.json"))
        assert {name: file["size"] for name, file in commit["files"].items()} | {
            ".paceline.json": inside[".paceline.json"]
        } == {name: size for name, size in inside.items() if not name.startswith(".paceline/")}
        assert set(commit["files"]) == {"state-rank=0.json", "state-rank=1.json"}
        for name, file in commit["files"].items():
            body = stored.read(f"{directory}/{name}")
            assert json.loads(body)["iteration"] == i
            assert file["crc32c"] == f"{google_crc32c.value(body):08x}"


@every_store
def test_the_rest_of_the_documented_layout_is_there(finished: Running, store: str) -> None:
    stored = finished.stored[store]
    sizes = stored.sizes()
    top = {name.partition("/")[0] for name in sizes}
    assert {"result.json", "progress.csv", "params.json", "artifacts", ".paceline"} <= top
    assert any(name.startswith("events.out.tfevents") for name in top)
    artifacts = {name for name in sizes if name.startswith("artifacts/")}
    assert artifacts == {f"artifacts/artifact-rank={rank}-iter={i}.txt" for rank in (0, 1) for i in ITERATIONS}
    assert stored.read("artifacts/artifact-rank=1-iter=9.txt") == b"rank 1, iteration 9\n"
    lines = [json.loads(line) for line in stored.read("result.json").splitlines()]
    rows = list(csv.DictReader(io.StringIO(stored.read("progress.csv").decode())))
    assert [line["iter"] for line in lines] == [int(row["iter"]) for row in rows] == list(ITERATIONS)
    assert json.loads(stored.read("params.json"))["world_size"] == 2


@every_store
def test_status_tells_what_lies_in_the_store(finished: Running, store: str) -> None:
    status = finished.space.status(f"overview-{store}")
    assert (status["restarts"], status["attempt"]) == (0, 0)
    commit = json.loads(finished.stored[store].read("checkpoint_000009/.paceline.json"))
    told = status["checkpoint"]
    assert told["path"].partition("?")[0].endswith(f"/overview-{store}/checkpoint_000009")
    assert {key: told[key] for key in ("index", "step", "attempt")} == {
        "index": 9, "step": commit["step"], "attempt": commit["attempt"],
    }  # fmt: skip
    assert told["metrics"]["loss"] == pytest.approx(0.8**10)
    assert status["result"]["metrics"]["iter"] == 9
    assert status["result"]["path"].partition("?")[0].endswith(f"/overview-{store}")
    # A job of a few seconds may end before it is asked for the first time.
    uploads = status["uploads"] if store == "outage" else status.get("uploads", {})
    assert (uploads.get("pendingCheckpoints", 0), uploads.get("pendingBytes", 0)) == (0, 0)


def test_pods_of_a_run_are_on_different_nodes(finished: Running) -> None:
    for store in finished.stored:
        assert len({pod["spec"]["nodeName"] for pod in finished.space.pods(f"overview-{store}")}) == 2


def test_google_believed_the_mounted_key_and_refused_the_other(finished: Running) -> None:
    assert finished.tokens.granted >= 2
    assert finished.tokens.refused >= 1
    (pod, *_) = finished.space.pods("overview-gcs")
    (volume,) = [v for v in pod["spec"]["volumes"] if v.get("secret", {}).get("secretName") == "gcs"]
    assert volume["secret"]["items"] == [{"key": "key.json", "path": "key.json"}]


@pytest.mark.parametrize("mistake", TOLD)
def test_a_mistake_ends_the_job_with_a_reason_and_the_way_out(running: Running, mistake: str) -> None:
    space = running.space
    reason, words = TOLD[mistake]
    status = space.wait_phase(mistake, "Failed", timeout_s=TOLD_S)
    (failed,) = [c for c in status["conditions"] if c["type"] == "Failed" and c["status"] == "True"]
    assert failed["reason"] == reason, space.tell(mistake)
    assert not [word for word in words if word not in failed["message"]], failed["message"]
    # The same store would say the same: no restart.
    assert status["restarts"] == 0
    assert space.wait_events(mistake, failed["reason"])
    assert "PRIVATE KEY" not in str(status) + str(space.events(mistake))


def test_a_key_that_the_secret_lacks_is_waited_for(running: Running) -> None:
    assert "late.json" in running.told_of_late_key
    # The kubelet waits longer and longer between two tries to mount.
    status = running.space.wait_phase("gcs-late-key", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0


def test_describe_stays_readable(finished: Running) -> None:
    text = finished.space.kube.kubectl("describe", "tj", "overview-outage", "-n", finished.space.namespace)
    assert not [words for words in ("Uploads:", "Pending Checkpoints:", "Artifacts:", "s3://") if words not in text]
    assert max(len(line) for line in text.splitlines()) < 400
