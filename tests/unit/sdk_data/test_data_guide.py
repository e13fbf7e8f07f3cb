"""The Python of docs/guides/datasets.md: it is a part of the example, or it runs."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from paceline import train
from paceline.train import _shards

ROOT = Path(__file__).parents[3]
EXAMPLE = textwrap.dedent((ROOT / "examples/parquet-datasets/train.py").read_text())


def is_of_the_example(block: str) -> bool:
    lines = [line.strip() for line in EXAMPLE.splitlines()]
    wanted = [line.strip() for line in block.strip().splitlines()]
    return any(lines[i : i + len(wanted)] == wanted for i in range(len(lines)))


def test_each_block_of_the_guide_runs_or_is_a_part_of_the_example(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/guides/datasets.md").read_text(), re.M | re.S)
    own = [block for block in blocks if not is_of_the_example(block) and "tf." not in block]
    assert (len(blocks), len(own)) == (8, 3)
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
