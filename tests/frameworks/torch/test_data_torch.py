"""`iter_torch_batches` with the real torch: types, shapes, two ranks that train on all rows."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

from paceline import train
from paceline.data import open_sources
from paceline.train import _shards

EXAMPLE = Path(__file__).parents[3] / "examples" / "parquet-datasets"


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The images as Parquet, and this process as rank 1 of 2."""
    x, y = load_digits(return_X_y=True)
    images = pa.FixedSizeListArray.from_arrays(pa.array(x.astype("float32").ravel()), 64)
    text = pa.array([f"a {label}" for label in y])
    table = pa.table({"image": images, "label": pa.array(y), "text": text})
    pq.write_table(table, tmp_path / "digits.parquet", row_group_size=100)
    _shards.provide(open_sources({"train": str(tmp_path / "*.parquet")}))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    yield x, y
    _shards.provide({})


def test_batches_are_tensors_of_the_types_that_are_asked_for(digits: tuple[Any, Any]) -> None:
    x, y = digits
    shard = train.get_dataset_shard("train")
    columns = ["image", "label"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that may not be written to
        batches = list(shard.iter_torch_batches(batch_size=64, columns=columns))
    assert [tuple(batch["image"].shape) for batch in batches] == [(64, 64)] * 14 + [(2, 64)]
    assert batches[0]["image"].dtype == torch.float32
    assert batches[0]["label"].dtype == torch.int64
    assert batches[0]["image"].device == torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    assert torch.cat([batch["label"] for batch in batches]).tolist() == y[898:1796].tolist()
    assert torch.cat([batch["image"] for batch in batches]).cpu().numpy().tolist() == x[898:1796].tolist()

    (batch, *_) = shard.iter_torch_batches(dtypes={"label": torch.float64}, columns=columns, device="cpu")
    assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.float64)
    (batch, *_) = shard.iter_torch_batches(dtypes=torch.float16, columns=columns, device=torch.device("cpu"))
    assert {tensor.dtype for tensor in batch.values()} == {torch.float16}
    (pair, *_) = shard.iter_torch_batches(
        collate_fn=lambda batch: (torch.from_numpy(batch["image"]) / 16, {"words": list(batch["text"])})
    )
    assert pair[0].max() == 1
    assert pair[1]["words"][0] == f"a {y[898]}"

    assert len(shard.iter_torch_batches(batch_size=64, drop_last=True)) == 14
    with pytest.raises(ValueError, match=r"datasets\['train'\]: column 'text' is no tensor: .*collate_fn"):
        next(iter(shard.iter_torch_batches()))
    with pytest.raises(
        ValueError, match="dtypes names 'lable', which is no column: there are 'image', 'label', 'text'"
    ):
        shard.iter_torch_batches(dtypes={"lable": torch.float32})
    with pytest.raises(TypeError, match=r"pass a torch\.dtype"):
        shard.iter_torch_batches(dtypes="float32")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        shard.iter_torch_batches(device="gpu")


def test_the_example_trains_on_parquet_files_with_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(script: str, *options: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *options])
        monkeypatch.delitem(sys.modules, script, raising=False)
        importlib.import_module(script).main()
        told = capfd.readouterr()
        return told.out + told.err

    monkeypatch.syspath_prepend(str(EXAMPLE))
    data = str(tmp_path / "digits")
    assert "1437 images to train with and 360 to validate" in run("prepare", data)
    told = run("train", data, "--workers", "2", "--epochs", "4", "--storage-path", str(tmp_path / "runs"))
    assert told.count("datasets['train'] has 1437 rows: each of 2 ranks gets 718, and 1 is left out") == 1
    (directory,) = (tmp_path / "runs").iterdir()
    result = train.Result.from_path(str(directory))
    assert result.error is None
    assert result.metrics is not None
    assert (result.metrics["epoch"], result.metrics["step"]) == (4, 4 * 45)
    assert result.metrics["accuracy"] > 0.8
    assert len(result.best_checkpoints) == 4
    assert f"accuracy {result.metrics['accuracy']:.4f}; the model is in {directory}" in told
