"""`iter_tf_batches` with the real TensorFlow, as a `tf.data` pipeline takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from paceline import train
from paceline.data import open_sources
from paceline.train import _shards
from tests.support import docs


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    x, y = load_digits(return_X_y=True)
    images = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 64)
    lists = pa.array([list(range(i % 3)) for i in range(len(y))])
    table = pa.table({"image": images, "label": y, "text": [f"a {i}" for i in y], "lists": lists})
    pq.write_table(table, tmp_path / "digits.parquet", row_group_size=100)
    _shards.provide(open_sources({"train": str(tmp_path / "*.parquet")}))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    yield y
    _shards.provide({})


def test_batches_are_tensors_and_feed_a_pipeline(labels: Any) -> None:
    shard = train.get_context().get_dataset_shard("train")
    columns = ["image", "label", "text"]
    (batch, *_) = shard.iter_tf_batches(batch_size=10, columns=columns, dtypes={"image": tf.float32})
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in batch.items()} == {
        "image": (tf.float32, (10, 64)),
        "label": (tf.int64, (10,)),
        "text": (tf.string, (10,)),
    }
    assert batch["text"][0] == f"a {labels[0]}".encode()

    shard.set_epoch(0)
    (block,) = (text for text in docs.own_python("docs/guides/datasets.md") if "tf.data" in text)
    names = {"tf": tf, "shard": shard}
    exec(compile(block, "datasets.md", "exec"), names)
    pipeline: Any = names["dataset"]
    for _ in range(2):
        seen = [int(label) for _, label in pipeline.unbatch().as_numpy_iterator()]
        assert seen == labels[:898].tolist()

    with pytest.raises(ValueError, match=r"column 'lists' is no tensor: .*columns=\[\.\.\.\]"):
        next(iter(shard.iter_tf_batches()))
    with pytest.raises(ValueError, match="dtypes names 'lable', which is no column"):
        shard.iter_tf_batches(dtypes={"lable": tf.float32})
