"""Every bad input that a user of checkpoints and storage can give: told with the way out, and nothing is lost by it.

What can be known when it is written is refused there; what only the store knows, before training starts; the rest in
the call that has it. `test_rows_index.py` lists which test proves what.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from e2e.cluster.hdfs import USER, HdfsServer
from e2e.cluster.s3 import S3Server
from paceline.storage import StorageError
from paceline.train import Checkpoint, CheckpointConfig, Result, RunConfig
from tests.integration.rows.conftest import Bucket
from tests.support.faultproxy import Answer, FaultProxy, s3_error
from tests.support.training import ROOT, Training, epochs, training

STARTED = """
    import os, pathlib
    pathlib.Path(os.environ.get("STARTED", "started")).touch()
"""
# A report and a checkpoint that are well, then the mistake.
BEFORE = """
    import os, pathlib, tempfile
    from paceline import train
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "model").write_text("0")
    train.report({"epoch": 0}, checkpoint=train.Checkpoint.from_directory(folder), wait=True)
    train.report({"epoch": 1})
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "model").write_text("1")
    saved = train.Checkpoint.from_directory(folder)
    """


def local(tmp_path: Path) -> RunConfig:
    return RunConfig(name="digits", storage_path=str(tmp_path / "runs"))


def test_a_scheme_with_a_filesystem_object_is_refused_with_the_path_to_write() -> None:
    said = (
        "RunConfig.storage_path: .*no scheme beside a filesystem object: write 'bucket/runs', or leave out the object"
    )
    with pytest.raises(ValueError, match=said):
        RunConfig(storage_path="s3://bucket/runs", storage_filesystem=pyarrow.fs.LocalFileSystem())


@pytest.mark.parametrize(
    "path", ["s3://bucket/runs", "gs://bucket/runs", "hdfs://namenode:8020/runs", "webhdfs://namenode:9870/runs"]
)
def test_an_unknown_query_key_is_refused_with_the_known_ones(path: str) -> None:
    known = {"s3": "endpoint_override, scheme, region", "gs": "endpoint_override, scheme, project"}
    scheme = path.partition(":")[0]
    said = rf"RunConfig.storage_path: unknown key 'edpoint' in .* {scheme}:// .*: use {known.get(scheme, 'user')}"
    with pytest.raises(ValueError, match=said):
        RunConfig(storage_path=f"{path}?edpoint=http://minio:9000")


@pytest.mark.parametrize("keep", [0, -1])
def test_num_to_keep_below_one_is_refused_where_it_is_written_and_by_the_agent(keep: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"CheckpointConfig.num_to_keep is {keep}: keep at least 1 .* leave it out"):
        CheckpointConfig(num_to_keep=keep)
    with training(tmp_path, local(tmp_path), workers=1) as run:
        assert run.end(STARTED, PACELINE_CHECKPOINTS=f'{{"keep": {keep}}}') == 64
        assert "PACELINE_CHECKPOINTS: keep" in run.message
        assert str(keep) in run.message
    assert not (tmp_path / "started").exists()


@dataclass(frozen=True, slots=True)
class Trained:
    """A run in S3 with two checkpoints; each test starts one more attempt of it, with a mistake."""

    run: Training
    bucket: Bucket
    proxy: FaultProxy
    before: dict[str, str]
    attempts: Iterator[int]


@pytest.fixture(scope="module")
def trained(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    keys = {name: value for name, value in s3_server.environment.items() if "ENDPOINT" not in name}
    s3_server.make_bucket("rows-refused")
    bucket = Bucket(s3_server, "rows-refused", keys)
    with FaultProxy(s3_server.endpoint) as proxy:
        config = RunConfig(name="digits", storage_path=bucket.uri(endpoint=proxy.endpoint))
        with training(tmp_path_factory.mktemp("refused"), config, workers=1, **keys) as run:
            assert run.end(EPOCHS="2") == 0, run.log
            yield Trained(run, bucket, proxy, bucket.everything(), itertools.count(1))


def an_hour_late(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH that puts the clock of a process back; the server refuses such signatures."""
    (tmp_path / "late").mkdir()
    (tmp_path / "late/sitecustomize.py").write_text(
        "import time, botocore.auth, botocore.compat\n"
        "from datetime import timedelta\n"
        "clock, now = time.time, botocore.compat.get_current_datetime\n"
        "time.time = lambda: clock() - 3600\n"
        "botocore.auth.get_current_datetime = lambda *a, **k: now(*a, **k) - timedelta(hours=1)\n"
    )
    return tmp_path / "late"


WRONG_KEY = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the Secret named by spec.storage.secretRef"


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        pytest.param(
            "bucket", ["s3://{bucket}-gone:", "NoSuchBucket", "add ?allow_bucket_creation=true"], id="no such bucket"
        ),
        pytest.param("key", ["s3://{bucket}", "InvalidAccessKeyId|XAdminUserNotFound", WRONG_KEY], id="wrong key"),
        pytest.param("secret", ["s3://{bucket}", "SignatureDoesNotMatch", WRONG_KEY], id="wrong secret"),
        pytest.param(
            "denied",
            ["s3://{bucket}", "AccessDenied", "allow list, get, put and delete below the storage path"],
            id="no permission to write",
        ),
        pytest.param(
            "clock", ["s3://{bucket}", "RequestTimeTooSkewed", "the clock of this machine is wrong: set it"], id="clock"
        ),
    ],
)
def test_what_the_store_refuses_is_told_before_training_and_what_lies_there_stays(
    tmp_path: Path, trained: Trained, mistake: str, said: list[str]
) -> None:
    run, bucket, proxy, before = trained.run, trained.bucket, trained.proxy, trained.before
    env = {"STARTED": str(tmp_path / "started")}
    if mistake == "bucket":
        env["PACELINE_STORAGE_PATH"] = f"s3://{bucket.name}-gone/runs?endpoint_override={proxy.endpoint}"
    if mistake == "key":
        env["AWS_ACCESS_KEY_ID"] = "nobody"
    if mistake == "secret":
        env["AWS_SECRET_ACCESS_KEY"] = "canary-of-a-secret"
    if mistake == "denied":
        proxy.fail(s3_error(403, "AccessDenied"), method="PUT", times=None)
    if mistake == "clock":
        env["PYTHONPATH"] = f"{an_hour_late(tmp_path)}:{ROOT / 'sdk'}"
    try:
        assert run.end(STARTED, attempt=next(trained.attempts), **env) == 70
    finally:
        proxy.clear()
    assert run.pods[0].message["failure"]["reason"] == "StorageError"
    for words in said:
        assert any(word.format(bucket=bucket.name) in run.message for word in words.split("|")), run.message
    assert "canary" not in run.log
    assert not (tmp_path / "started").exists()
    assert bucket.everything() == before


def test_a_directory_of_another_user_is_told_with_the_way_out_before_training(
    tmp_path: Path, hdfs_server: HdfsServer
) -> None:
    """HDFS knows who owns a directory."""
    directory = hdfs_server.make_directory("rows-of-somebody", owner="somebody")
    config = RunConfig(name="digits", storage_path=f"{hdfs_server.webhdfs_uri}{directory}/runs?user={USER}")
    with training(tmp_path, config, workers=1, **hdfs_server.environment) as run:
        assert run.end(STARTED) == 70
        assert directory in run.message
        assert "?user=" in run.message
    assert not (tmp_path / "started").exists()


def test_permission_lost_in_the_middle_ends_the_run_and_keeps_what_was_committed(
    tmp_path: Path, bucket: Bucket, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(bucket.server.endpoint)
    config = RunConfig(name="digits", storage_path=bucket.uri(endpoint=proxy.endpoint))
    with training(tmp_path, config, workers=1, PACELINE_GRACE_SECONDS="2", **bucket.keys) as run:
        proxy.fail(s3_error(403, "AccessDenied"), method="PUT", path="checkpoint_000001", times=None)
        assert run.end() == 70
        assert "AccessDenied" in run.message
        assert "allow list, get, put and delete below the storage path" in run.message
        assert epochs(run.result) == [0]
        proxy.clear()
        result = run.fit(attempt=1)
    assert "begins with epoch 1" in run.log
    assert epochs(result) == [0, 1, 2]
    assert result.error is None


IN_A_REPORT = {
    "name leads out": (
        'train.report({"epoch": 2}, saved, checkpoint_dir_name="../stolen")',
        ["checkpoint_dir_name='../stolen'", "give one name of letters, digits and . _ = -"],
    ),
    "name is a path": (
        'train.report({"epoch": 2}, saved, checkpoint_dir_name="/stolen")',
        ["checkpoint_dir_name='/stolen'", "give one name of letters, digits and . _ = -"],
    ),
    "name is the runs own": (
        'train.report({"epoch": 2}, saved, checkpoint_dir_name="result.json")',
        ["checkpoint_dir_name='result.json'", "take another name"],
    ),
    "link to itself": (
        '(folder / "loop").symlink_to("loop"); train.report({"epoch": 2}, saved)',
        ["/loop is a link that leads to itself: remove the link"],
    ),
    "link to its directory": (
        '(folder / "sub").mkdir(); (folder / "sub/up").symlink_to(".."); train.report({"epoch": 2}, saved)',
        ["/sub/up is a link to a directory that contains it: remove the link"],
    ),
    "link to a directory elsewhere": (
        '(folder / "etc").symlink_to("/etc"); train.report({"epoch": 2}, saved)',
        ["/etc is a link to the directory /etc, outside", "copy what it names into the directory"],
    ),
    "tensor": (
        'tensor = type("Tensor", (), {"__module__": "torch"})(); train.report({"val": {"loss": tensor}}, saved)',
        ["metrics['val']['loss'] is a torch.Tensor", "call .item() on a tensor of one element"],
    ),
    "key that is no string": (
        'train.report({"per class": {3: 0.5}}, saved)',
        ["metrics['per class'] has the key 3 of type int: keys must be strings"],
    ),
}


@pytest.mark.parametrize("mistake", IN_A_REPORT)
def test_a_mistake_in_a_report_is_raised_there_and_nothing_before_it_is_lost(tmp_path: Path, mistake: str) -> None:
    line, said = IN_A_REPORT[mistake]
    with training(tmp_path, local(tmp_path), workers=1) as run:
        assert run.end(BEFORE + line) == 1
        result = run.result
    assert result.error is not None
    for words in said:
        assert words in result.error.message
    assert line in (result.error.traceback or "")
    assert result.metrics is not None
    assert result.metrics["epoch"] == 1
    assert epochs(result) == [0]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits"]
    assert not list((tmp_path / "agent-0-0/staging").iterdir())
    assert not Path("/stolen").exists()


def test_nan_and_infinity_are_kept_and_a_score_of_nan_is_the_worst(tmp_path: Path) -> None:
    script = """
        import pathlib, tempfile
        from paceline import train
        for epoch, loss in enumerate([float("nan"), 2.0, float("inf"), 1.0]):
            folder = pathlib.Path(tempfile.mkdtemp())
            (folder / "model").write_text(str(epoch))
            train.report({"epoch": epoch, "loss": loss}, checkpoint=train.Checkpoint.from_directory(folder))
    """
    config = RunConfig("digits", str(tmp_path / "runs"), checkpoint_config=CheckpointConfig(3, "loss", "min"))
    with training(tmp_path, config, workers=1) as run:
        result = run.fit(script)
    lines = [json.loads(line) for line in (tmp_path / "runs/digits/result.json").read_text().splitlines()]
    assert [line["loss"] for line in lines] == ["NaN", 2.0, "Infinity", 1.0]
    frame = result.metrics_dataframe
    assert frame is not None
    assert math.isnan(frame["loss"][0])
    assert frame["loss"][2] == math.inf
    assert epochs(result) == [1, 2, 3]


def test_a_file_name_that_leads_out_of_the_checkpoint_writes_nothing_here(
    tmp_path: Path, bucket: Bucket, fault_proxy: Callable[..., FaultProxy]
) -> None:
    """An object may be called anything by whoever may write to the bucket."""
    listing = (
        "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Contents>"
        "<Key>given/../../stolen</Key><Size>1</Size><ETag>x</ETag></Contents></ListBucketResult>"
    )
    proxy = fault_proxy(bucket.server.endpoint)
    rule = proxy.fail(Answer(200, listing, {"Content-Type": "application/xml"}), path="list-type=2", times=None)
    with pytest.raises(StorageError, match=r"'../../stolen' leads out of the checkpoint's directory: give the file a"):
        Checkpoint(bucket.uri("given", endpoint=proxy.endpoint)).to_directory(tmp_path / "a/b/copy")
    assert rule.hits
    assert not list(tmp_path.rglob("stolen"))


def test_a_commit_that_names_a_file_outside_writes_nothing_here(tmp_path: Path) -> None:
    with training(tmp_path, local(tmp_path), workers=1) as run:
        found = run.fit(EPOCHS="1").checkpoint
    assert found is not None
    (tmp_path / "runs/stolen").write_text("x")
    file = Path(found.path, ".paceline.json")
    commit: dict[str, Any] = json.loads(file.read_text())
    commit["files"]["../../stolen"] = {"size": 1, "crc32c": commit["files"]["rank-0.txt"].get("crc32c", "0")}
    file.write_text(json.dumps(commit))
    with pytest.raises(StorageError, match="stolen"):
        Checkpoint(found.path).to_directory(tmp_path / "a/b/c")
    assert not list((tmp_path / "a").rglob("*stolen*"))
    assert Result.from_path(run.settings.run_path).checkpoint == found
