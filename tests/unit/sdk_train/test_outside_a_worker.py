"""A script that uses paceline.train also runs plainly, and a checkpoint works anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest

from paceline import train
from paceline.storage import Entry, StorageError
from paceline.storage._local import LocalStorage
from paceline.train import _handover, _reading
from paceline.train._location import Location
from tests.support.agents import SDK


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PACELINE_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK"):
            monkeypatch.delenv(name)


def test_the_context_is_rank_0_of_1() -> None:
    c = train.get_context()
    assert (c.get_world_rank(), c.get_world_size(), c.get_local_rank(), c.get_local_world_size()) == (0, 1, 0, 1)
    assert (c.get_node_rank(), c.get_experiment_name(), c.get_trial_id(), c.get_trial_name()) == (
        0,
        "local",
    ) + ("local",) * 2
    assert c.get_trial_dir() == str(Path.cwd())
    assert (c.get_storage().path, c.get_storage().run_path) == (None, None)
    assert train.get_checkpoint() is None


def test_the_context_names_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACELINE_STORAGE_PATH", "s3://b/p?region=eu")
    monkeypatch.setenv("PACELINE_EXPERIMENT_NAME", "digits")
    assert train.get_context().get_trial_dir() == "s3://b/p/digits?region=eu"
    assert train.get_context().get_storage().filesystem.region == "eu"
    monkeypatch.delenv("PACELINE_STORAGE_PATH")
    assert train.get_context().get_storage().filesystem is None


def test_a_report_is_checked_and_a_checkpoint_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train.report({"loss": 1})
    with pytest.raises(TypeError):
        train.report({"loss": object()})
    for _ in range(2):
        train.report({"loss": 1}, checkpoint=train.Checkpoint.from_directory(tmp_path))
    assert capfd.readouterr().err.count("reported checkpoints are not stored") == 1


def test_a_bad_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        train.report({}, checkpoint=train.Checkpoint(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"is stored already"):
        train.report({}, checkpoint=train.Checkpoint("s3://b/c"))
    with pytest.raises(TypeError, match=r"pass Checkpoint\.from_directory"):
        train.report({}, checkpoint=str(tmp_path))  # type: ignore[arg-type]


def test_a_local_checkpoint_is_used_in_place_and_copied_on_request(tmp_path: Path) -> None:
    source = tmp_path / "c"
    (source / "sub").mkdir(parents=True)
    (source / "sub/m").write_text("1")
    (source / ".paceline.json").write_text('{"index": 0}')
    checkpoint = train.Checkpoint.from_directory(source)
    with checkpoint.as_directory() as directory:
        assert directory == str(source)
    copy = Path(checkpoint.to_directory(tmp_path / "copy"))
    assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*")) == ["sub", "sub/m"]
    checkpoint.set_metadata({"a": 1})
    checkpoint.update_metadata({"b": 2})
    assert checkpoint.get_metadata() == {"a": 1, "b": 2}
    with pytest.raises(FileNotFoundError), train.Checkpoint(tmp_path / "none").as_directory():
        pass


def test_checkpoints_of_different_filesystems_differ(tmp_path: Path) -> None:
    one, other = (pyarrow.fs.SubTreeFileSystem(str(tmp_path / d), pyarrow.fs.LocalFileSystem()) for d in "ab")
    assert train.Checkpoint("c", one) == train.Checkpoint("c", one)
    assert train.Checkpoint("c", one) != train.Checkpoint("c", other)
    assert train.Checkpoint("b/c", one) != train.Checkpoint("s3://b/c")
    assert train.Checkpoint("s3://b/c?region=eu") != train.Checkpoint("s3://b/c?region=us")
    assert train.Checkpoint("s3://b/c/") == train.Checkpoint("s3://b/c")
    assert train.Checkpoint(f"file://{tmp_path}") == train.Checkpoint(tmp_path, pyarrow.fs.LocalFileSystem())


def test_a_store_cannot_place_files_elsewhere_on_this_machine(tmp_path: Path) -> None:
    class Hostile(LocalStorage):
        def files(self, directory: str) -> Iterator[Entry]:
            yield Entry("../../evil", 4)

        def get_file(self, path: str, local: str) -> None:
            Path(local).write_text("evil")

    location = Location(tmp_path / "c")
    location._storage = Hostile()
    with pytest.raises(StorageError, match="leads out of the checkpoint's directory"):
        _reading.download(location, tmp_path / "a/b")
    assert not (tmp_path / "evil").exists()


def test_an_upload_function_names_a_place_that_others_find(tmp_path: Path) -> None:
    given = train.Checkpoint.from_directory(tmp_path)
    hidden = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    assert _handover.uploaded(lambda c, name: train.Checkpoint(f"s3://b/{name}"), given, "n") == "s3://b/n"
    assert _handover.uploaded(lambda c, name: given, given, "n") == str(tmp_path)
    with pytest.raises(TypeError, match="nobody else has that filesystem object"):
        _handover.uploaded(lambda c, name: train.Checkpoint("x", hidden), given, "n")
    with pytest.raises(TypeError, match="returned a str: return a Checkpoint"):
        _handover.uploaded(lambda c, name: "s3://b/n", given, "n")  # type: ignore[arg-type,return-value]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACELINE_STAGING", str(tmp_path / "staging"))
    return tmp_path / "staging"


def test_files_are_linked_the_first_time_and_copied_when_a_directory_is_used_again(
    tmp_path: Path, staging: Path
) -> None:
    source = tmp_path / "used-again"
    source.mkdir()
    (source / "m").write_text("1")
    first, second = _handover.stage(source), _handover.stage(source)
    assert (first / "m").samefile(source / "m")
    assert not (second / "m").samefile(source / "m")


def test_links_are_followed_and_what_is_no_file_is_refused(tmp_path: Path, staging: Path) -> None:
    source = tmp_path / "c"
    (source / "sub").mkdir(parents=True)
    (source / "sub/x").write_text("x")
    (source / "link").symlink_to("sub/x")
    staged = _handover.stage(source)
    assert not (staged / "link").is_symlink()
    assert (staged / "link").read_text() == "x"
    (source / "sub/loop").symlink_to(source)
    with pytest.raises(ValueError, match="contains it"):
        _handover.stage(source)
    (source / "sub/loop").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a directory"):
        _handover.stage(source)
    assert len(list(staging.iterdir())) == 1


def test_the_import_brings_no_third_party_module() -> None:
    program = (
        "import sys; before = set(sys.modules); import paceline.train\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(SDK)}, capture_output=True)
    assert done.stdout.decode().strip() == "['paceline']", done.stderr.decode()


def test_what_a_worker_does_not_need_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys, paceline.train as t\n"
        "late = {'dataclasses', 'shutil', 'tempfile', 'concurrent.futures', 'paceline.storage', 'paceline.agent'}\n"
        "print(sorted(late & set(sys.modules)), set(t.__all__) <= set(dir(t)), all(hasattr(t, n) for n in t.__all__))\n"
        "print(sorted(m for m in set(sys.modules) if m.partition('.')[0] in ('pyarrow', 'pandas', 'botocore')))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(SDK)}, capture_output=True)
    assert done.stdout.decode().splitlines() == ["[] True True", "[]"], done.stderr.decode()
    with pytest.raises(AttributeError, match=r"'paceline\.train' has no attribute 'Reslut'"):
        _ = train.Reslut
