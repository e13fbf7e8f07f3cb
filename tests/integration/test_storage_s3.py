"""S3 on a real server that enforces keys and conditional writes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.cluster.s3 import S3Server
from paceline.agent.commits import read_commit
from paceline.storage import Storage, StorageError, StorageNotFoundError, resolve, retry
from tests.support.agents import job

MIB = 1024 * 1024


@pytest.fixture
def keys(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {k: v for k, v in s3_server.environment.items() if "ENDPOINT" not in k}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def base(s3_server: S3Server, keys: dict[str, str], request: pytest.FixtureRequest) -> str:
    bucket = s3_server.make_bucket("tests")
    return f"{bucket}/{abs(hash(request.node.name))}?endpoint_override={s3_server.endpoint}"


@pytest.fixture
def store(base: str) -> tuple[Storage, str]:
    return resolve(base)


def test_files_are_written_listed_read_and_deleted(store: tuple[Storage, str], tmp_path: Path) -> None:
    storage, path = store
    local = tmp_path / "big"
    local.write_bytes(os.urandom(33 * MIB))
    storage.put_file(str(local), f"{path}/d/big")
    storage.write(f"{path}/d/e/small", b"abc")
    assert sorted((e.name, e.size) for e in storage.files(path)) == [("d/big", 33 * MIB), ("d/e/small", 3)]
    assert storage.directories(path) == ["d"]
    storage.get_file(f"{path}/d/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    assert storage.size(f"{path}/d/e/small") == 3
    storage.delete_directory(f"{path}/d")
    assert list(storage.files(path)) == []
    assert storage.size(f"{path}/d/e/small") is None
    with pytest.raises(StorageNotFoundError):
        storage.read(f"{path}/d/e/small")


def test_of_many_that_create_the_same_object_one_wins(store: tuple[Storage, str]) -> None:
    storage, path = store
    start = threading.Barrier(8)

    def create(i: int) -> bool:
        start.wait()
        return storage.create_if_absent(f"{path}/one", str(i).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert storage.read(f"{path}/one") == str(won.index(True)).encode()
    assert storage.create_if_absent(f"{path}/one", storage.read(f"{path}/one"))  # a repeated call has won too


@pytest.mark.parametrize(
    ("bucket", "env", "said"),
    [
        pytest.param(
            "tests", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_ACCESS_KEY_ID and AWS_SECRET", id="secret"
        ),
        pytest.param("tests", {"AWS_ACCESS_KEY_ID": "nobody"}, "check AWS_ACCESS_KEY_ID and AWS_SECRET", id="key"),
        pytest.param("no-such", {}, "NoSuchBucket", id="bucket"),
    ],
)
def test_what_no_retry_can_mend_is_told_before_training_starts(
    s3_server: S3Server, keys: dict[str, str], tmp_path: Path, bucket: str, env: dict[str, str], said: str
) -> None:
    s3_server.make_bucket("tests")
    path = f"s3://{bucket}/x?endpoint_override={s3_server.endpoint}"
    with job(tmp_path, **{"PACELINE_STORAGE_PATH": path, **keys, **env}) as one:
        pod = one.train("open('started', 'w')")
    assert pod.process.returncode == 70
    assert pod.message["failure"]["reason"] == "StorageError"
    assert said in pod.message["failure"]["message"]
    assert not (tmp_path / "started").exists()
    assert "wrong" not in pod.log


def test_a_bucket_is_created_only_when_the_uri_allows_it(s3_server: S3Server, keys: dict[str, str]) -> None:
    uri = f"s3://made-here/x?endpoint_override={s3_server.endpoint}"
    storage, path = resolve(uri)
    with pytest.raises(StorageError, match="allow_bucket_creation=true"):
        storage.check(path)
    storage, path = resolve(f"{uri}&allow_bucket_creation=true")
    storage.check(path)
    storage.check(path)
    assert storage.uri(path) == f"{uri}&allow_bucket_creation=true"


def test_a_server_that_dies_and_returns_in_mid_upload_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server.start_local(tmp_path / "own") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.make_bucket("tests")
        storage, path = resolve("s3://tests/x")
        local = tmp_path / "file"
        local.write_bytes(os.urandom(64 * MIB))
        restart = threading.Timer(0.15, server.restart)
        restart.start()
        retry.call(lambda: storage.put_file(str(local), f"{path}/file"), patience_s=30)
        restart.join()
        assert storage.size(f"{path}/file") == 64 * MIB
        storage.get_file(f"{path}/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_two_pods_train_on_s3_and_a_restart_resumes(base: str, keys: dict[str, str], tmp_path: Path) -> None:
    script = """
        import os, pathlib, tempfile, time
        from paceline import train
        rank, start = train.get_context().get_world_rank(), 0
        def meet(where):
            where += os.environ["PACELINE_ATTEMPT"]
            pathlib.Path(f"{where}-{rank}").touch()
            while not pathlib.Path(f"{where}-{1 - rank}").exists():
                time.sleep(0.01)
        meet("start")
        if checkpoint := train.get_checkpoint():
            assert checkpoint.get_metadata() == {"kind": "test"}
            with checkpoint.as_directory() as d:
                start = int(pathlib.Path(d, "next").read_text())
                assert sorted(os.listdir(d)) == [".metadata.json", "big", "next", "shard-0", "shard-1"]
        for i in range(start, 3):
            with tempfile.TemporaryDirectory() as d:
                pathlib.Path(d, "next").write_text(str(i + 1))
                pathlib.Path(d, f"shard-{rank}").write_text(str(i))
                pathlib.Path(d, "big").write_bytes(bytes(5_000_000))
                checkpoint = train.Checkpoint.from_directory(d)
                checkpoint.set_metadata({"kind": "test"})
                train.report({"i": i, "nan": float("nan")}, checkpoint=checkpoint)
            if i == 1 and os.environ["PACELINE_ATTEMPT"] == "0":
                meet("crash")
                os._exit(3)
    """
    with job(tmp_path, workers=2, per_pod=1, **{"PACELINE_STORAGE_PATH": base, **keys}) as two:
        command = two.script(script)
        for attempt in (0, 1):
            lead = two.start(command, attempt=attempt)
            second = two.start(command, attempt=attempt, pod=1)
            assert {lead.wait(), second.wait()} == ({3} if attempt == 0 else {0}), lead.log + second.log
    storage, path = resolve(base)
    commit = read_commit(storage, f"{path}/job/checkpoint_000002")
    assert commit is not None
    assert (commit.attempt, commit.step, commit.metrics) == (1, 3, {"i": 2, "nan": "NaN"})
    sizes = {e.name: e.size for e in storage.files(f"{path}/job/checkpoint_000002") if e.name != ".paceline.json"}
    assert {name: about["size"] for name, about in commit.files.items()} == sizes
    assert storage.read(f"{path}/job/result.json").count(b"\n") == 3
    assert lead.message["checkpoint"]["path"] == storage.uri(f"{path}/job/checkpoint_000002")
