"""`RunConfig` and its parts: bad values are refused where they are written; paths and names are decided purely."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
import pytest

from paceline.agent.config import AgentConfig
from paceline.storage import StorageError
from paceline.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, SyncConfig
from paceline.train._run_settings import RunSettings, settings, write_filesystem

LOCAL = pyarrow.fs.LocalFileSystem()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("kind", "given", "error", "said"),
    [
        (CheckpointConfig, {"num_to_keep": 0}, ValueError, "num_to_keep is 0: keep at least 1.*leave it out"),
        (CheckpointConfig, {"num_to_keep": -1}, ValueError, "num_to_keep is -1"),
        (CheckpointConfig, {"num_to_keep": True}, TypeError, "num_to_keep is True, a bool"),
        (CheckpointConfig, {"num_to_keep": 1.5}, TypeError, "num_to_keep is 1.5, a float: pass a whole number"),
        (CheckpointConfig, {"checkpoint_score_order": "biggest"}, ValueError, "'biggest': use 'max'.*or 'min'"),
        (CheckpointConfig, {"checkpoint_score_attribute": ""}, ValueError, "checkpoint_score_attribute is empty"),
        (CheckpointConfig, {"checkpoint_score_attribute": 3}, TypeError, "checkpoint_score_attribute is a int"),
        (SyncConfig, {"sync_period": -1}, ValueError, "sync_period is -1: pass a number of seconds above 0"),
        (SyncConfig, {"sync_timeout": 0}, ValueError, "sync_timeout is 0"),
        (SyncConfig, {"sync_timeout": float("nan")}, ValueError, "sync_timeout is nan"),
        (SyncConfig, {"sync_period": "5m"}, TypeError, "sync_period is '5m', a str"),
        (SyncConfig, {"sync_artifacts": "yes"}, TypeError, "sync_artifacts is 'yes', a str: pass True or False"),
        (FailureConfig, {"max_failures": -2}, ValueError, "max_failures is -2.*-1 for as many"),
        (FailureConfig, {"max_failures": "3"}, TypeError, "max_failures is '3'"),
        (RunConfig, {"name": "a/b"}, ValueError, "RunConfig.name is 'a/b'.*one directory"),
        (RunConfig, {"name": ".."}, ValueError, "RunConfig.name is '..'"),
        (RunConfig, {"name": "a\nb"}, ValueError, "RunConfig.name"),
        (RunConfig, {"name": "x" * 200}, ValueError, "at most 128"),
        (RunConfig, {"name": ""}, ValueError, "RunConfig.name is empty: leave it out"),
        (RunConfig, {"storage_path": ""}, ValueError, "storage_path is empty"),
        (RunConfig, {"storage_path": 5}, TypeError, "storage_path is a int"),
        (RunConfig, {"storage_path": "s3://b/p?endpoint=x"}, ValueError, "storage_path: unknown key 'endpoint'"),
        (RunConfig, {"storage_path": "s3:///p"}, ValueError, "names no bucket"),
        (RunConfig, {"checkpoint_config": {"num_to_keep": 2}}, TypeError, "checkpoint_config is a dict: pass a Ch"),
        (
            RunConfig,
            {"storage_path": "p", "storage_filesystem": "s3"},
            ValueError,
            "is a pyarrow.*fsspec.*not str",
        ),
        (RunConfig, {"storage_filesystem": pyarrow.fs.LocalFileSystem()}, ValueError, "without storage_path: name"),
        (
            RunConfig,
            {"storage_path": "s3://b/p?region=x", "storage_filesystem": pyarrow.fs.LocalFileSystem()},
            ValueError,
            "storage_path: .*no scheme beside a filesystem object: write 'b/p', or leave out the object",
        ),
    ],
)
def test_bad_values_are_refused_with_field_value_and_way_out(
    kind: Any, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        kind(**given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunConfig(storage_path="s3://b/p?secret_key=hush"),
        lambda: RunConfig(storage_path="s3://key:hush@b/p"),
        lambda: Checkpoint("s3://key:hush@b/p"),
        lambda: Checkpoint("s3://key:hush@b/p", LOCAL),
        lambda: Checkpoint("gs://b/p?token=hush"),
    ],
)
def test_a_key_in_a_path_is_refused_without_being_repeated(make: Callable[[], object]) -> None:
    with pytest.raises((ValueError, StorageError)) as refused:
        make()
    assert "hush" not in str(refused.value)


def test_the_defaults_are_those_of_ray_train() -> None:
    config = RunConfig(checkpoint_config=None, sync_config=None, failure_config=None)  # type: ignore[arg-type]
    assert config == RunConfig()
    assert config.checkpoint_config == CheckpointConfig(None, None, "max")
    assert config.sync_config == SyncConfig(300, 1800, False, True)
    assert config.failure_config == FailureConfig(0)
    assert pickle.loads(pickle.dumps(config)) == config


def decided(config: RunConfig, **environ: str) -> RunSettings:
    return settings(config, {"HOME": "/home/ada", **environ}, prefix="torch", now=NOW, token="a1b2c3")


@pytest.mark.parametrize(
    ("config", "environ", "storage", "local"),
    [
        pytest.param({}, {}, "/home/ada/paceline_results", "/home/ada/paceline_results/n", id="nothing given"),
        pytest.param(
            {},
            {"PACELINE_STORAGE": "s3://b/p"},
            "s3://b/p",
            "/home/ada/paceline_results/n",
            id="PACELINE_STORAGE is the default",
        ),
        pytest.param(
            {"storage_path": "/mnt/shared"},
            {"PACELINE_STORAGE": "s3://b/p", "PACELINE_LOCAL_CACHE_DIR": "/scratch"},
            "/mnt/shared",
            "/scratch/n",
            id="an explicit path wins, the cache moves",
        ),
        pytest.param({"storage_path": "~/runs"}, {}, "/home/ada/runs", "/home/ada/paceline_results/n", id="home"),
        pytest.param({"storage_path": Path("/a/b")}, {}, "/a/b", "/home/ada/paceline_results/n", id="a Path"),
        pytest.param(
            {"storage_path": "bucket/p", "storage_filesystem": fsspec.filesystem("memory")},
            {"PACELINE_STORAGE": "s3://b/p"},
            "bucket/p",
            "/home/ada/paceline_results/n",
            id="a filesystem's path stays as it is",
        ),
    ],
)
def test_where_a_run_lies(config: dict[str, Any], environ: dict[str, str], storage: str, local: str) -> None:
    found = decided(RunConfig(name="n", **config), **environ)
    assert (found.storage_path, found.local_directory, found.name) == (storage, local, "n")


def test_a_relative_path_becomes_absolute() -> None:
    assert decided(RunConfig(storage_path="runs")).storage_path == str(Path.cwd() / "runs")


def test_a_missing_name_is_made_readable_and_unlike_any_other() -> None:
    assert decided(RunConfig()).name == "torch-20260102-030405-a1b2c3"
    assert RunConfig().resolve().name != RunConfig().resolve().name
    assert decided(RunConfig(name="n", storage_path="s3://b/p?region=eu")).run_path == "s3://b/p/n?region=eu"


def test_a_bad_default_names_the_variable() -> None:
    with pytest.raises(ValueError, match="PACELINE_STORAGE: unknown key 'x'"):
        decided(RunConfig(), PACELINE_STORAGE="s3://b?x=1")


def test_the_agent_is_told_what_it_reads() -> None:
    config = RunConfig(
        name="n",
        storage_path="s3://b/p",
        checkpoint_config=CheckpointConfig(2, "loss", "min"),
        sync_config=SyncConfig(sync_period=60, sync_artifacts=True),
    )
    told = decided(config).environment()
    assert json.loads(told.pop("PACELINE_ARTIFACTS")) == {
        "sync": True,
        "periodSeconds": 60,
        "timeoutSeconds": 1800,
        "onCheckpoint": True,
    }
    assert json.loads(told.pop("PACELINE_CHECKPOINTS")) == {"keep": 2, "scoreAttribute": "loss", "scoreOrder": "min"}
    assert told == {"PACELINE_STORAGE_PATH": "s3://b/p", "PACELINE_EXPERIMENT_NAME": "n"}
    read = AgentConfig.from_env(["python"], decided(config).environment())
    assert (read.retention.keep, read.retention.score_attribute, read.retention.score_order) == (2, "loss", "min")
    assert "PACELINE_ARTIFACTS" not in decided(RunConfig(name="n")).environment()


def test_a_filesystem_object_reaches_the_agent_as_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    run = decided(RunConfig(name="n", storage_path="p", storage_filesystem=filesystem))
    with pytest.raises(ValueError, match="filesystem_file"):
        run.environment()
    for _ in range(2):
        file = write_filesystem(filesystem, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert run.environment(file)["PACELINE_STORAGE_FILESYSTEM"] == str(file)
    assert pickle.loads(file.read_bytes()) == filesystem
    with pytest.raises(TypeError, match=r"cannot be handed to another process.*make it picklable"):
        write_filesystem(lambda: None, tmp_path)


def test_a_given_checkpoint_is_named_so_that_the_agent_finds_it(tmp_path: Path) -> None:
    memory, other = fsspec.filesystem("memory"), pyarrow.fs.SubTreeFileSystem(str(tmp_path), LOCAL)
    plain = decided(RunConfig(name="n", storage_path="s3://b/p"))
    in_object = decided(RunConfig(name="n", storage_path="p", storage_filesystem=memory))
    file = write_filesystem(memory, tmp_path)
    s3, local = Checkpoint("s3://b/r/checkpoint_000003?region=eu"), Checkpoint.from_directory(tmp_path)
    assert plain.environment(resume_from=s3)["PACELINE_RESUME_FROM"] == "s3://b/r/checkpoint_000003?region=eu"
    assert plain.environment(resume_from=local)["PACELINE_RESUME_FROM"] == str(tmp_path)
    assert in_object.environment(file, resume_from=local)["PACELINE_RESUME_FROM"] == f"file://{tmp_path}"
    own = Checkpoint("/r/checkpoint_000001", memory)
    assert in_object.environment(file, resume_from=own)["PACELINE_RESUME_FROM"] == "/r/checkpoint_000001"
    for run, given in ((plain, ()), (in_object, (file,))):
        with pytest.raises(ValueError, match=r"cannot be handed to the workers.*to_directory\(\)"):
            run.environment(*given, resume_from=Checkpoint("r/checkpoint_000001", other))
    assert "PACELINE_RESUME_FROM" not in plain.environment()
