"""What a trainer refuses before any process is started, and what it lets through."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from paceline.data import DataConfig, open_sources

TABLE = pa.table({"x": [1, 2, 3]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train/day=1").mkdir(parents=True)
    pq.write_table(TABLE, tmp_path / "train/day=1/a.parquet")
    pq.write_table(TABLE, tmp_path / "train/b.parquet")
    (tmp_path / "train/_SUCCESS").touch()
    (tmp_path / "train/README.md").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more/rows.csv").write_text("x\n1\n2\n")
    (tmp_path / "more/notes.txt").touch()
    (tmp_path / "more/odd[1].parquet").write_bytes((tmp_path / "train/b.parquet").read_bytes())
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        pytest.param("{}/train", 6, id="a directory and those below"),
        pytest.param("{}/train/*.parquet", 3, id="a star stays in its directory"),
        pytest.param("{}/train/**/*.parquet", 6, id="two stars do not"),
        pytest.param("{}/train/day=[0-9]/?.parquet", 3, id="classes and one letter"),
        pytest.param("{}/train/day=[!1]/*.parquet", None, id="a class that is not it"),
        pytest.param("file://{}/train/b.parquet", 3, id="a file URI"),
        pytest.param("{}/more/odd[1].parquet", 3, id="a name with brackets"),
        pytest.param(["{}/train/b.parquet", "{}/train/day=1"], 6, id="a list"),
        pytest.param("{}/more/rows.csv", 2, id="csv"),
    ],
)
def test_a_path_means_these_rows(folder: Path, given: Any, rows: int | None) -> None:
    path = [p.format(folder) for p in given] if isinstance(given, list) else given.format(folder)
    if rows is None:
        with pytest.raises(FileNotFoundError, match="matches no file"):
            open_sources({"train": path})
        return
    sources = pickle.loads(pickle.dumps(open_sources({"train": path})))
    assert sources["train"].open().count() == rows


def test_a_relative_path_still_means_the_same_in_another_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    source = open_sources({"train": Path("train/b.parquet")})["train"]
    monkeypatch.chdir(folder / "empty")
    assert source.open().count() == 3


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param(TABLE, "Table", id="table"),
        pytest.param(TABLE.to_batches()[0], "Table", id="record batch"),
        pytest.param(ds.dataset(TABLE), "Table", id="dataset in memory"),
        pytest.param(pd.DataFrame({"x": [1, 2, 3]}, index=[7, 8, 9]), "Table", id="frame"),
    ],
)
def test_rows_in_memory_travel_as_a_table(value: Any, kind: str) -> None:
    source = pickle.loads(pickle.dumps(open_sources({"train": value})))["train"]
    assert type(source.data).__name__ == kind
    (batch,) = source.open().iter_batches(batch_format="dict")
    assert batch == {"x": [1, 2, 3]}
    assert source.describe() == "a Table"


def test_a_dataset_of_pyarrow_keeps_its_partitions(folder: Path) -> None:
    dataset = ds.dataset(folder / "train/day=1", format="parquet", partitioning=None)
    whole = ds.dataset(folder / "train", format="parquet", partitioning="hive", exclude_invalid_files=True)
    sources = pickle.loads(pickle.dumps(open_sources({"one": dataset, "whole": whole})))
    assert sources["one"].open().count() == 3
    with pytest.raises(ValueError, match="is a filtered dataset"):
        open_sources({"train": whole.filter(ds.field("x") > 1)})
    rows = [
        row for batch in sources["whole"].open(1, 2).iter_batches(batch_format="pyarrow") for row in batch.to_pylist()
    ]
    assert sorted(row["x"] for row in rows) == [1, 2, 3]
    assert {row["day"] for row in rows} <= {1, None}


@pytest.mark.parametrize(
    ("given", "config", "error", "said"),
    [
        pytest.param(["x"], None, TypeError, "datasets is a list", id="no dict"),
        pytest.param({1: "x"}, None, TypeError, "the name 1", id="a number as name"),
        pytest.param({"train": 7}, None, TypeError, "is a int: give a path or URI", id="a number"),
        pytest.param({"train": {"x": [1]}}, None, TypeError, "is a dict", id="a dict"),
        pytest.param({"train": [TABLE]}, None, TypeError, "has a Table in its list", id="tables in a list"),
        pytest.param({"train": []}, None, ValueError, "is an empty list", id="empty list"),
        pytest.param({"train": " "}, None, ValueError, "give a path or URI", id="empty"),
        pytest.param({"train": "{}/nothing"}, None, FileNotFoundError, "nothing is not there", id="missing"),
        pytest.param({"train": "{}/no/*.csv"}, None, FileNotFoundError, "no is not there", id="missing directory"),
        pytest.param({"train": "{}/train/*.csv"}, None, FileNotFoundError, "matches no file", id="empty glob"),
        pytest.param({"train": "{}/empty"}, None, FileNotFoundError, "or has no files", id="empty directory"),
        pytest.param({"train": "{}/more/notes.txt"}, None, ValueError, r"tells no format: use \.parquet", id="suffix"),
        pytest.param({"train": "{}/more"}, None, ValueError, "mixes parquet .* and csv|mixes csv", id="mixed"),
        pytest.param(
            {"train": "s3://b/x/*.txt"}, None, ValueError, "tells no format", id="suffix of a pattern in a store"
        ),
        pytest.param({"train": "s4://b/x"}, None, ValueError, r"datasets\['train'\]: .*s4", id="scheme"),
        pytest.param({"train": "s3://b/x?regoin=y"}, None, ValueError, "'regoin'.*region", id="key of the query"),
        pytest.param({"train": "s3://k:s@b/x"}, None, ValueError, "AWS_ACCESS_KEY_ID", id="credentials"),
        pytest.param({"train": TABLE}, {"train": True}, TypeError, "dataset_config is a dict", id="config"),
        pytest.param(
            {"train": TABLE},
            DataConfig(datasets_to_split=["trian"]),
            ValueError,
            "'trian'.*they are 'train'",
            id="split",
        ),
        pytest.param({"train": TABLE}, DataConfig(shuffle=["test"]), ValueError, "shuffle names 'test'", id="shuffle"),
    ],
)
def test_a_mistake_shows_before_anything_is_started(
    folder: Path, given: Any, config: Any, error: type[Exception], said: str
) -> None:
    if isinstance(given, dict):
        given = {k: v.format(folder) if isinstance(v, str) else v for k, v in given.items()}
    with pytest.raises(error, match=said) as caught:
        open_sources(given, config)
    assert "k:s" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        pytest.param({"datasets_to_split": "train"}, TypeError, "pass 'all' or a list", id="a text is no list"),
        pytest.param({"datasets_to_split": [1]}, TypeError, "has 1 in it", id="a number"),
        pytest.param({"shuffle": "yes"}, TypeError, "pass True, False or a list", id="shuffle"),
        pytest.param({"format": "xml"}, ValueError, "'xml': use parquet, csv, json, arrow", id="format"),
        pytest.param({"format": {"train": "xml"}}, ValueError, r"format\['train'\] is 'xml'", id="format of one"),
        pytest.param({"seed": -1}, ValueError, "seed is -1", id="seed"),
    ],
)
def test_a_data_config_is_checked_when_it_is_made(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        DataConfig(**given)


def test_the_config_names_a_format_that_the_files_do_not_tell(folder: Path) -> None:
    (folder / "more/rows.csv").rename(folder / "more/rows.txt")
    path = str(folder / "more/rows.txt")
    assert open_sources({"t": path}, DataConfig(format="csv"))["t"].open().count() == 2
    assert open_sources({"t": path}, DataConfig(format={"t": "csv"}))["t"].open().count() == 2


def test_paths_of_pods_are_not_looked_at_here() -> None:
    sources = open_sources({"train": "/mnt/shared/train/*.parquet"}, here=False)
    assert sources["train"].describe() == "/mnt/shared/train/*.parquet"
    with pytest.raises(ValueError, match="a pod knows no relative path"):
        open_sources({"train": "train/*.parquet"}, here=False)


def test_an_access_key_in_a_filesystem_does_not_travel_to_a_cluster() -> None:
    where: dict[str, Any] = {"endpoint_override": "127.0.0.1:1", "scheme": "http", "region": "us-east-1"}
    form, schema = ds.ParquetFileFormat(), pa.schema([("x", pa.int64())])

    def dataset(**keys: str) -> Any:
        return ds.FileSystemDataset(
            [], schema, form, filesystem=fs.SubTreeFileSystem("b", fs.S3FileSystem(**where, **keys))
        )

    open_sources({"train": dataset()}, here=False)
    open_sources({"train": dataset(access_key="AK", secret_key="hidden")})
    with pytest.raises(ValueError, match="has a filesystem with an access key in it") as caught:
        open_sources({"train": dataset(access_key="AK", secret_key="hidden")}, here=False)
    assert "hidden" not in str(caught.value)


def test_without_pyarrow_the_extra_is_named_before_anything_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"datasets needs pyarrow: pip install 'paceline\[arrow\]'"):
        open_sources({"train": str(folder / "train")})
    source = open_sources({"train": str(folder / "train")}, here=False)["train"]
    with pytest.raises(ImportError, match=r"datasets\['train'\] needs pyarrow"):
        source.open()
