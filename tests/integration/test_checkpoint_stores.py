"""`Checkpoint` and `Result` mean the same in every store, named by a URI or given as a filesystem object."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
import pytest

from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import USER, HdfsServer
from e2e.cluster.s3 import S3Server
from paceline.storage import StorageError, StorageNotFoundError
from paceline.train import Checkpoint, Result
from tests.support.agents import SDK
from tests.support.runs import Run
from tests.support.timeouts import AGENT_RUN_S

FILES = {"model.pt": b"weights" * 1000, "sub/shard-0": b"0", ".metadata.json": b'{"kind": "test"}'}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run lies."""

    uri: str
    filesystem: Any = None

    def run(self) -> Run:
        return Run(self.uri, self.filesystem)

    def checkpoint(self, name: str = "checkpoint_000000") -> Checkpoint:
        place, mark, query = self.uri.partition("?")
        return Checkpoint(f"{place}/{name}{mark}{query}", self.filesystem)

    def result(self) -> Result:
        return Result.from_path(self.uri, self.filesystem)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Place:
    for name, value in s3_server.environment.items():
        if "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("objects")
    return Place(f"{bucket}/{abs(hash(request.node.name))}?endpoint_override={s3_server.endpoint}")


@pytest.fixture(params=["local", "s3", "gcs", "hdfs", "webhdfs", "arrow s3", "arrow subtree", "fsspec memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    kind: str = request.param
    name = f"{abs(hash(request.node.name))}"
    if kind == "local":
        return Place(str(tmp_path / "run"))
    if kind == "fsspec memory":
        return Place(f"/{name}/run", fsspec.filesystem("memory"))
    if kind == "arrow subtree":
        return Place("run", pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem()))
    if kind == "gcs":
        server: GcsServer = request.getfixturevalue("gcs_server")
        server.make_bucket("objects")
        return Place(f"gs://objects/{name}?endpoint_override={server.endpoint}&anonymous=true")
    if kind.endswith("hdfs"):
        hdfs: HdfsServer = request.getfixturevalue("hdfs_server")
        for variable, value in hdfs.environment.items():
            monkeypatch.setenv(variable, value)
        base = hdfs.hdfs_uri if kind == "hdfs" else hdfs.webhdfs_uri
        return Place(f"{base}{hdfs.make_directory(name)}/run?user={USER}")
    found: Place = request.getfixturevalue("s3")
    if kind == "s3":
        return found
    s3_server: S3Server = request.getfixturevalue("s3_server")
    filesystem = pyarrow.fs.S3FileSystem(
        endpoint_override=s3_server.endpoint, access_key=s3_server.access_key, secret_key=s3_server.secret_key
    )
    return Place(f"objects/{name}", filesystem)


def content(directory: str | Path) -> dict[str, bytes]:
    root = Path(directory)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_checkpoint_is_read_in_every_way(place: Place, tmp_path: Path) -> None:
    place.run().reports({"loss": 1.0}).checkpoint(0, FILES, loss=1.0)
    checkpoint = place.checkpoint()
    assert "://" not in checkpoint.path
    assert checkpoint.path.endswith("/checkpoint_000000")
    with checkpoint.as_directory() as directory:
        assert {**content(directory), ".paceline.json": b""} == {**FILES, ".paceline.json": b""}
    assert Path(directory).exists() == (checkpoint.uri == directory)  # a copy is gone, a local one stays
    assert content(checkpoint.to_directory(tmp_path / "copy")) == FILES
    temporary = checkpoint.to_directory()
    assert content(temporary) == FILES
    with checkpoint.filesystem.open_input_stream(f"{checkpoint.path}/model.pt") as stream:
        assert stream.read() == FILES["model.pt"]
    assert isinstance(checkpoint.filesystem, pyarrow.fs.FileSystem)
    if place.filesystem is None:
        assert Checkpoint(checkpoint.uri) == checkpoint


def test_metadata_is_kept_beside_the_files_and_may_change_after_the_commit(place: Place, tmp_path: Path) -> None:
    place.run().checkpoint(0, {"m": b"1", ".metadata.json": b'{"kind": "test"}'})
    checkpoint = place.checkpoint()
    assert checkpoint.get_metadata() == {"kind": "test"}
    checkpoint.update_metadata({"epoch": 3, "tags": ["a", {"b": None}]})
    assert checkpoint.get_metadata() == {"kind": "test", "epoch": 3, "tags": ["a", {"b": None}]}
    checkpoint.set_metadata({"only": True})
    assert place.checkpoint().get_metadata() == {"only": True}
    copied = Checkpoint(checkpoint.to_directory(tmp_path / "copy"))
    assert copied.get_metadata() == {"only": True}
    assert place.checkpoint().get_metadata() == {"only": True}
    with pytest.raises(TypeError, match=r"metadata\['when'\] is a object"):
        checkpoint.update_metadata({"when": object()})
    with pytest.raises(TypeError, match="metadata has the key 1"):
        checkpoint.set_metadata({1: 2})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="metadata is a list: pass a dict"):
        checkpoint.set_metadata([1])  # type: ignore[arg-type]


def test_a_result_is_read_from_its_path(place: Place) -> None:
    run = place.run().reports({"loss": 2.0}, {"loss": 1.0})
    run.checkpoint(0, loss=2.0).checkpoint(1, loss=1.0).checkpoint(2, committed=False).failed(rank=1, type="OSError")
    result = place.result()
    assert result.metrics is not None
    assert result.metrics["loss"] == 1.0
    assert [c.path.rpartition("/")[2] for c, _ in result.best_checkpoints] == ["checkpoint_000000", "checkpoint_000001"]
    assert result.checkpoint == place.checkpoint("checkpoint_000001")
    assert result.checkpoint != place.checkpoint("checkpoint_000000")
    assert result.error is not None
    assert (result.error.rank, result.error.type) == (1, "OSError")
    assert result.metrics_dataframe is not None
    assert list(result.metrics_dataframe["loss"]) == [2.0, 1.0]
    with result.filesystem.open_input_stream(f"{result.path}/params.json") as stream:
        assert b"train.py" in stream.read()
    with result.checkpoint.as_directory() as directory:
        assert Path(directory, "model.pt").read_bytes() == b"weights 1"


def test_objects_survive_pickle_and_compare(place: Place) -> None:
    place.run().reports({"loss": 2.0}).checkpoint(0)
    checkpoint = place.checkpoint()
    again: Checkpoint = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint
    assert hash(again) == hash(checkpoint)
    assert len({again, checkpoint, place.checkpoint("checkpoint_000001")}) == 2
    with again.as_directory() as directory:
        assert Path(directory, "model.pt").read_bytes() == b"weights 0"
    result: Result = pickle.loads(pickle.dumps(place.result()))
    assert result.checkpoint == checkpoint
    assert checkpoint.path in repr(checkpoint)


def test_what_is_not_there_is_told(place: Place, tmp_path: Path) -> None:
    missing = place.checkpoint("nothing")
    with pytest.raises((FileNotFoundError, StorageNotFoundError), match="no checkpoint at"), missing.as_directory():
        pass
    with pytest.raises((FileNotFoundError, StorageNotFoundError), match="no checkpoint at"):
        missing.to_directory(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert missing.get_metadata() == {}
    with pytest.raises(FileNotFoundError, match="no run lies at"):
        place.result()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda run: run.put("checkpoint_000000/model.pt", b"weights"), "model.pt", id="another size"),
        pytest.param(lambda run: run.put("checkpoint_000000/model.pt", b"WEIGHTS 0"), "model.pt", id="another content"),
        pytest.param(lambda run: run.storage.delete(f"{run.path}/checkpoint_000000/model.pt"), "model.pt", id="gone"),
    ],
)
def test_damage_is_found_when_the_files_are_fetched(
    place: Place, tmp_path: Path, damage: Callable[[Run], object], said: str
) -> None:
    run = place.run().checkpoint(0, {"model.pt": b"weights 0", "other": b"x"})
    damage(run)
    with pytest.raises(StorageError, match=said):
        place.checkpoint().to_directory(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_plain_directory_needs_no_commit(place: Place) -> None:
    place.run().put("pretrained/model.pt", b"from elsewhere")
    with place.checkpoint("pretrained").as_directory() as directory:
        assert content(directory) == {"model.pt": b"from elsewhere"}


def test_processes_outside_a_pod_share_one_download(s3: Place, tmp_path: Path, s3_server: S3Server) -> None:
    """Also while one of them is killed in the middle."""
    s3.run().checkpoint(0, {"m": b"x" * 100_000})
    uri = s3.checkpoint().uri
    script = (
        "import os, sys; from paceline.train import Checkpoint\n"
        "with Checkpoint(sys.argv[1]).as_directory() as d:\n"
        "    print(os.stat(d + '/m').st_ino, d, flush=True); sys.stdin.read()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(SDK), "TMPDIR": str(tmp_path)}
    command, pipe = [sys.executable, "-c", script, uri], subprocess.PIPE
    users = [subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    told = [user.stdout.readline().split() for user in users if user.stdout]
    assert len({inode for inode, _ in told}) == 1
    directory = Path(told[0][1])
    assert tmp_path in directory.parents
    users[0].send_signal(signal.SIGKILL)
    users[0].wait(AGENT_RUN_S)
    assert directory.exists()
    for user in users[1:]:
        assert user.communicate("", timeout=AGENT_RUN_S)[0] == ""
    assert not directory.exists()
    for user in users:
        assert user.stdout is not None
        user.stdout.close()


def test_processes_may_copy_into_one_directory_at_once(s3: Place, tmp_path: Path) -> None:
    s3.run().checkpoint(0, {"m": b"x" * 100_000, "sub/n": b"1"})
    script = (
        "import os, sys; from paceline.train import Checkpoint\n"
        "d = Checkpoint(sys.argv[1]).to_directory(sys.argv[2])\n"
        "print(os.stat(d + '/m').st_ino, len(open(d + '/m').read()))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(SDK), "TMPDIR": str(tmp_path)}
    command, target = [sys.executable, "-c", script, s3.checkpoint().uri], tmp_path / "copy"
    users = [subprocess.Popen([*command, str(target)], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {user.communicate(timeout=AGENT_RUN_S)[0] for user in users}
    assert len(told) == 1  # the same file: it was fetched once
    assert told.pop().split()[1] == "100000"
    assert content(target) == {"m": b"x" * 100_000, "sub/n": b"1"}
    assert not any((tmp_path / f"paceline-copies-{os.getuid()}").iterdir())


def test_a_missing_extra_is_named(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.run().reports({"a": 1})
    result = s3.result()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"paceline\[arrow\]"):
        _ = s3.checkpoint().filesystem
    with pytest.raises(ImportError, match=r"paceline\[dataframe\]"):
        _ = result.metrics_dataframe


def test_a_run_is_read_with_few_requests(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run = s3.run().reports({"a": 1})
    for index in range(4):
        run.checkpoint(index, a=index)
    run.put("artifacts/a/b.txt", "1")
    calls: list[str] = []
    for name in ("read", "directories", "files", "size"):
        original = getattr(type(run.storage), name)

        def counted(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(self, *args)

        monkeypatch.setattr(type(run.storage), name, counted)
    s3.result()
    assert sorted(calls) == ["directories", *["read"] * 8]  # 4 files, 4 commits


@pytest.mark.parametrize(
    ("path", "filesystem", "error", "said"),
    [
        ("s3://b/c?endpoint=x", None, StorageError, "unknown key 'endpoint'"),
        ("s3://b/c", pyarrow.fs.LocalFileSystem(), ValueError, "has a scheme, but a filesystem is given too"),
        ("b/c", "s3", StorageError, "pyarrow.*or an fsspec filesystem, not str"),
        ("", None, ValueError, "empty"),
    ],
)
def test_bad_names_are_refused_at_once(path: str, filesystem: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Checkpoint(path, filesystem)
