"""Requirements C1 - C8, a test or more for each row: where runs are stored. C9 is in e2e: see the index."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import USER, HdfsServer
from paceline.storage import resolve
from paceline.train import Result, RunConfig, SyncConfig
from tests.integration.rows.conftest import Bucket
from tests.support.agents import wait_for
from tests.support.tfevents import read_events
from tests.support.training import ROOT, epochs, training

# What every run leaves beside its checkpoints; the event file's name has a time in it.
RUN_FILES = {"params.json", "progress.csv", "result.json", "events.out.tfevents.*"}
METRICS_ONLY = """
    import pathlib
    from paceline import train
    pathlib.Path("started").touch()
    for epoch in range(3):
        train.report({"epoch": epoch})
"""


@pytest.fixture(params=["s3", "gs", "hdfs", "webhdfs", "shared directory", "file"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, str]]:
    """A storage path on a real server, and what its pods need in their environment."""
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        return bucket.uri("team/runs"), bucket.keys
    if request.param == "gs":
        gcs: GcsServer = request.getfixturevalue("gcs_server")
        return f"{gcs.make_bucket('rows')}/team/runs?endpoint_override={gcs.endpoint}&anonymous=true", {}
    if request.param.endswith("hdfs"):
        hdfs: HdfsServer = request.getfixturevalue("hdfs_server")
        for name, value in hdfs.environment.items():
            monkeypatch.setenv(name, value)
        server = hdfs.hdfs_uri if request.param == "hdfs" else hdfs.webhdfs_uri
        return f"{server}{hdfs.make_directory(f'rows-{request.param}')}/runs?user={USER}", {}
    return f"{'file://' if request.param == 'file' else ''}{tmp_path}/shared/runs", {}


def names(uri: str, filesystem: Any = None) -> set[str]:
    """Everything that lies below a storage path, but for the run's own state."""
    storage, path = resolve(uri, filesystem)
    found = {entry.name for entry in storage.files(path) if "/.paceline/" not in entry.name}
    return {f"{name.partition('tfevents')[0]}tfevents.*" if "tfevents" in name else name for name in found}


def test_c1_two_pods_store_everything_below_storage_path_and_name(
    store: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    path, env = store
    config = RunConfig(storage_path=path, name="digits")
    with training(tmp_path, config, per_pod=1, **env) as run:
        result = run.fit(EPOCHS="1")
    assert epochs(result) == [0]
    assert names(path) == {f"digits/{name}" for name in RUN_FILES} | {
        f"digits/checkpoint_000000/{name}" for name in (".paceline.json", "rank-0.txt", "rank-1.txt")
    }
    assert result.checkpoint is not None
    copied = result.checkpoint.to_directory(tmp_path / "copy")
    assert Path(copied, "rank-1.txt").read_text() == "0"


def test_c1_without_a_path_and_a_name_a_run_lies_in_the_home_directory_under_a_new_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for number in (1, 2):
        with training(tmp_path / str(number), RunConfig(), workers=1, environ={"HOME": str(home)}) as run:
            result = run.fit(METRICS_ONLY)
            assert result.path == str(home / "paceline_results" / run.settings.name)
    assert len(list((home / "paceline_results").iterdir())) == 2


def test_c2_paceline_storage_is_the_default_and_an_explicit_path_wins(tmp_path: Path, bucket: Bucket) -> None:
    environ = {"PACELINE_STORAGE": bucket.uri("default"), "HOME": str(tmp_path / "home")}
    with training(tmp_path / "a", RunConfig(name="digits"), workers=1, environ=environ, **bucket.keys) as run:
        run.fit(METRICS_ONLY)
    explicit = RunConfig(name="digits", storage_path=str(tmp_path / "explicit"))
    with training(tmp_path / "b", explicit, workers=1, environ=environ) as run:
        run.fit(METRICS_ONLY)
    assert names(bucket.uri("default")) == {f"digits/{name}" for name in RUN_FILES}
    assert names(str(tmp_path / "explicit")) == {f"digits/{name}" for name in RUN_FILES}
    assert not (tmp_path / "home").exists()


def test_c2_paceline_local_cache_dir_moves_the_local_copy_of_a_run(tmp_path: Path, bucket: Bucket) -> None:
    config = RunConfig(name="digits", storage_path=bucket.uri())
    environ = {"PACELINE_LOCAL_CACHE_DIR": str(tmp_path / "scratch"), "HOME": str(tmp_path / "home")}
    local = tmp_path / "scratch/digits"
    assert config.resolve(environ=environ).local_directory == str(local)
    # As a local run starts its agent.
    with training(
        tmp_path, config, workers=1, environ=environ, PACELINE_AGENT_DIR=str(local), **bucket.keys
    ) as run:  # fmt: skip
        run.fit(METRICS_ONLY)
    assert list(local.rglob("result.json"))
    assert not (tmp_path / "home").exists()


def filesystems(bucket: Bucket, gcs: GcsServer, directory: Path) -> dict[str, tuple[Any, str]]:
    server = bucket.server
    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    )
    google = fsspec.filesystem("gcs", endpoint_url=gcs.endpoint, token="anon", project=gcs.project)
    gcs.make_bucket("rows")
    return {
        "pyarrow S3": (s3, f"{bucket.name}/objects"),
        "pyarrow subtree": (pyarrow.fs.SubTreeFileSystem(str(directory), pyarrow.fs.LocalFileSystem()), "runs"),
        "fsspec wrapped": (pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(google)), "rows/wrapped"),
        "fsspec as it is": (DirFileSystem(path=str(directory), fs=LocalFileSystem()), "runs"),
    }


@pytest.mark.parametrize("kind", ["pyarrow S3", "pyarrow subtree", "fsspec wrapped", "fsspec as it is"])
def test_c3_a_run_lies_in_a_filesystem_object(
    kind: str, tmp_path: Path, bucket: Bucket, gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in bucket.keys:
        monkeypatch.delenv(name)  # the object's own keys are all there is
    (tmp_path / "disk").mkdir()
    filesystem, path = filesystems(bucket, gcs_server, tmp_path / "disk")[kind]
    config = RunConfig(name="digits", storage_path=path, storage_filesystem=filesystem)
    with training(tmp_path, config) as run:
        assert run.end(CRASH_AFTER="0") == 1
        result = run.fit(attempt=1, EPOCHS="2")
    assert "begins with epoch 1" in run.log
    assert epochs(result) == [0, 1]
    assert (result.path, result.checkpoint and result.checkpoint.path) == (
        f"{path}/digits", f"{path}/digits/checkpoint_000001",
    )  # fmt: skip
    assert names(path, filesystem) >= {f"digits/{name}" for name in RUN_FILES}


def test_c3_a_scheme_beside_a_filesystem_object_is_refused() -> None:
    said = r"RunConfig.storage_path: .*no scheme beside a filesystem object: write 'bucket/runs', or leave out the obj"
    with pytest.raises(ValueError, match=said):
        RunConfig(storage_path="s3://bucket/runs", storage_filesystem=pyarrow.fs.LocalFileSystem())


def test_c4_the_options_of_an_s3_uri_lead_to_a_compatible_server(tmp_path: Path, bucket: Bucket) -> None:
    authority = bucket.server.endpoint.removeprefix("http://")
    new = f"{bucket.name}-new"
    options = f"endpoint_override={authority}&scheme=http&region={bucket.server.region}&allow_bucket_creation=true"
    keys = {name: value for name, value in bucket.keys.items() if "REGION" not in name}
    config = RunConfig(name="digits", storage_path=f"s3://{new}/runs?{options}")
    with training(tmp_path, config, workers=1, **keys) as run:
        result = run.fit(EPOCHS="1")
    assert epochs(result) == [0]
    client = bucket.server.client()
    assert client.head_object(Bucket=new, Key="runs/digits/checkpoint_000000/.paceline.json")
    assert result.checkpoint is not None
    assert result.checkpoint.uri == f"s3://{new}/runs/digits/checkpoint_000000?{options}"


def test_c4_unknown_query_key_is_refused(tmp_path: Path, bucket: Bucket) -> None:
    """Where it is written, and by the agent, before anything starts."""
    bad = f"s3://{bucket.name}/runs?endpoint={bucket.server.endpoint}"
    said = "unknown key 'endpoint' in an s3:// storage path: use endpoint_override, scheme, region"
    with pytest.raises(ValueError, match="RunConfig.storage_path: " + said):
        RunConfig(storage_path=bad)
    good = RunConfig(name="digits", storage_path=bucket.uri())
    with training(tmp_path, good, workers=1, **bucket.keys) as run:
        assert run.end(METRICS_ONLY, PACELINE_STORAGE_PATH=bad) == 64
        assert said in run.message
    assert not (tmp_path / "started").exists()
    assert names(bucket.uri()) == set()


def test_c5_a_checkpoint_on_a_path_that_pods_do_not_share_is_an_error_that_names_the_cause(tmp_path: Path) -> None:
    apart = {1: {"PACELINE_STORAGE_PATH": str(tmp_path / "disk of node 1")}}
    config = RunConfig(name="digits", storage_path=str(tmp_path / "disk of node 0"))
    with training(tmp_path, config, per_pod=1, PACELINE_GRACE_SECONDS="2") as run:
        run.end(pods=apart)
        assert all(pod.process.returncode for pod in run.pods)
        assert "disk of node 0 is not shared: pod 1 does not see what pod 0 wrote there" in run.message
        assert "Mount one volume in every pod (spec.storage.volume), or use a store such as s3://" in run.message
        result = run.result
    assert result.checkpoint is None
    assert result.error is not None
    assert result.error.reason == "StorageError"
    assert result.metrics is not None
    assert result.metrics["epoch"] == 0


def test_c5_metrics_alone_need_no_shared_storage(tmp_path: Path) -> None:
    apart = {1: {"PACELINE_STORAGE_PATH": str(tmp_path / "disk of node 1")}}
    config = RunConfig(name="digits", storage_path=str(tmp_path / "disk of node 0"))
    with training(tmp_path, config, per_pod=1) as run:
        frame = run.fit(METRICS_ONLY, pods=apart).metrics_dataframe
    assert frame is not None
    assert list(frame["epoch"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        pytest.param({"bucket": "other"}, "pod 1 does not see what pod 0 wrote", id="another bucket"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": "hush"}, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACC", id="wrong key"),
    ],
)
def test_c6_every_pod_proves_that_it_reaches_the_store_before_training_starts(
    tmp_path: Path, bucket: Bucket, theirs: dict[str, str], said: str
) -> None:
    if "bucket" in theirs:
        other = bucket.server.make_bucket(f"{bucket.name}-other")
        theirs = {"PACELINE_STORAGE_PATH": f"{other}/runs?endpoint_override={bucket.server.endpoint}"}
    config = RunConfig(name="digits", storage_path=bucket.uri())
    script = METRICS_ONLY.replace('"started"', 'f"started-{train.get_context().get_world_rank()}"')
    with training(tmp_path, config, per_pod=1, PACELINE_GRACE_SECONDS="2", **bucket.keys) as run:
        lead, second = run.start(script, pods={1: theirs})
        assert second.wait() == 70
        failure = second.message["failure"]
        assert failure["reason"] == "StorageError"  # which no restart mends: the operator ends the job
        assert failure["message"].startswith("pod 1")
        assert said in failure["message"]
        assert lead.wait() == 70, "the other pods hear of it"
        assert lead.message["failure"] == failure
        assert "hush" not in run.log
    assert not (tmp_path / "started-1").exists()


ARTIFACTS = """
    import os, pathlib, tempfile, time
    from paceline import train
    rank = train.get_context().get_world_rank()
    pathlib.Path("where").write_text(os.getcwd())
    assert pathlib.Path("data.csv").read_text() == "from the image"
    os.makedirs("samples", exist_ok=True)
    pathlib.Path(f"samples/rank-{rank}.txt").write_text("early")
"""


def test_c7_files_of_every_worker_go_to_storage_each_period_and_at_the_end(tmp_path: Path) -> None:
    sync = SyncConfig(sync_period=0.2, sync_timeout=60, sync_artifacts=True, sync_artifacts_on_checkpoint=False)
    config = RunConfig(name="digits", storage_path=str(tmp_path / "runs"), sync_config=sync)
    artifacts = tmp_path / "runs/digits/artifacts"
    script = (
        ARTIFACTS
        + """
    stored = pathlib.Path(train.get_context().get_trial_dir(), "artifacts/samples")
    while not all((stored / f"rank-{r}.txt").exists() for r in (0, 1)):
        time.sleep(0.02)
    pathlib.Path(f"samples/last-{rank}.txt").write_text("late")
    """
    )
    (tmp_path / "data.csv").write_text("from the image")
    with training(tmp_path, config) as run:
        run.fit(script)
    assert sorted(path.name for path in artifacts.rglob("*.txt")) == [
        "last-0.txt", "last-1.txt", "rank-0.txt", "rank-1.txt",
    ]  # fmt: skip
    # The workers ran in a directory of their own, so that nothing of the image's is an artifact.
    assert (artifacts / "where").read_text() != str(tmp_path)
    assert not (artifacts / "data.csv").exists()
    assert not (tmp_path / "samples").exists()


def test_c7_files_go_along_with_a_checkpoint_and_by_default_not_at_all(tmp_path: Path, bucket: Bucket) -> None:
    script = (
        ARTIFACTS
        + """
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "model").touch()
        train.report({"epoch": 0}, checkpoint=train.Checkpoint.from_directory(folder), wait=True)
    while rank == 0 and not pathlib.Path("stop").exists():
        time.sleep(0.02)
    """
    )
    (tmp_path / "data.csv").write_text("from the image")
    config = RunConfig("digits", bucket.uri(), sync_config=SyncConfig(sync_artifacts=True))
    with training(tmp_path, config, **bucket.keys) as run:
        run.start(script)
        wait_for(lambda: "digits/artifacts/samples/rank-1.txt" in names(bucket.uri()))
        wait_for(lambda: list(tmp_path.rglob("where")))
        (where,) = tmp_path.rglob("where")
        (where.parent / "stop").touch()
        assert run.pods[0].wait() == 0
    default = RunConfig("plain", bucket.uri())
    with training(tmp_path / "b", default, **bucket.keys) as run:
        (tmp_path / "b/data.csv").write_text("from the image")
        run.fit(ARTIFACTS)
        assert (tmp_path / "b/samples/rank-0.txt").exists()
    assert not [name for name in names(bucket.uri()) if name.startswith("plain/artifacts")]


def test_c8_the_layout_is_read_with_any_tool(tmp_path: Path, bucket: Bucket) -> None:
    """The example of the output overview, read by a client that knows nothing of Paceline."""
    sync = SyncConfig(sync_artifacts=True)
    config = RunConfig(name="overview", storage_path=bucket.uri(), sync_config=sync)
    script = (ROOT / "examples/output-overview/train.py").read_text()
    with training(tmp_path, config, per_pod=1, **bucket.keys) as run:
        run.fit(script)
    client = bucket.server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    keys = {entry["Key"].removeprefix("runs/overview/") for page in pages for entry in page["Contents"]}

    def read(key: str) -> bytes:
        return bytes(client.get_object(Bucket=bucket.name, Key=f"runs/overview/{key}")["Body"].read())

    assert {key for key in keys if key.startswith("artifacts/")} == {
        f"artifacts/artifact-rank={rank}-iter={i}.txt" for rank in (0, 1) for i in range(10)
    }
    lines = [json.loads(line) for line in read("result.json").splitlines()]
    rows = list(csv.DictReader(io.StringIO(read("progress.csv").decode())))
    assert [line["iter"] for line in lines] == [int(row["iter"]) for row in rows] == list(range(10))
    assert json.loads(read("params.json"))["world_size"] == 2
    (events,) = (key for key in keys if key.startswith("events.out.tfevents."))
    (tmp_path / "events").write_bytes(read(events))
    assert [step for step, _ in read_events(tmp_path / "events")] == list(range(1, 11))
    for i in range(10):
        commit = json.loads(read(f"checkpoint_{i:06}/.paceline.json"))
        assert {"index", "attempt", "step", "time", "metrics", "world_size", "files", "ranks"} <= set(commit)
        assert {key for key in keys if key.startswith(f"checkpoint_{i:06}/")} == {
            f"checkpoint_{i:06}/{name}" for name in (".paceline.json", *commit["files"])
        }
        for rank in (0, 1):
            assert json.loads(read(f"checkpoint_{i:06}/state-rank={rank}.json"))["iteration"] == i
    state = {key for key in keys if key.startswith(".paceline/")}
    checkpoints = {key for key in keys if key.startswith(("checkpoint_", "artifacts/"))}
    assert keys - state - checkpoints == {"result.json", "progress.csv", "params.json", events}
    assert Result.from_path(run.settings.run_path).metrics is not None
