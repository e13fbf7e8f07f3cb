"""The Python of docs/guides/datasets.md: it is a part of the example, or it runs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from paceline import train
from paceline.train import _shards
from tests.support import docs


def test_each_block_of_the_guide_that_is_no_part_of_the_example_runs(tmp_path: Path) -> None:
    own = [block for block in docs.own_python("docs/guides/datasets.md") if "tf.data" not in block]
    assert (len(docs.python("docs/guides/datasets.md")), len(own)) == (8, 3)
    images = pa.array([[float(i)] * 64 for i in range(600)], pa.list_(pa.float32(), 64))
    (tmp_path / "train").mkdir()
    pq.write_table(pa.table({"image": images, "label": range(600)}), tmp_path / "train/0.parquet", row_group_size=50)
    train.use_datasets({"train": str(tmp_path / "train")})
    names = {"train": train}
    try:
        for block in own:
            exec(compile(block.replace("s3://bucket", str(tmp_path)), "datasets.md", "exec"), names)
        assert names["shard"].count() == 600
        assert names["table"].num_rows == 256
    finally:
        _shards.provide({})
