"""`get_dataset_shard` in a worker, and where there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from paceline import train
from paceline.data import DataConfig, open_sources
from paceline.train import _shards


@pytest.fixture(autouse=True)
def no_datasets() -> Iterator[None]:
    yield
    _shards.provide({})


def test_each_rank_gets_its_part_under_the_name_of_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"x": range(10)})
    config = train.DataConfig(datasets_to_split=["train"])
    assert train.DataConfig is DataConfig
    train.use_datasets({"train": table, "test": table}, config)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    shard = train.get_dataset_shard("train")
    assert shard is train.get_context().get_dataset_shard() is train.get_dataset_shard()
    assert [int(x) for batch in shard.iter_batches() for x in batch["x"]] == [5, 6, 7, 8, 9]
    assert train.get_dataset_shard("test").count() == 10
    with pytest.raises(KeyError) as caught:
        train.get_dataset_shard("validation")
    assert str(caught.value) == "no dataset is called 'validation': there are 'train', 'test'"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param({}, "pass datasets={'x': 's3://bucket/x/*.parquet'} to TorchTrainer", id="outside"),
        pytest.param({"PACELINE_RUN_ID": "1"}, "this run has no datasets: give the trainer datasets={'x'", id="none"),
    ],
)
def test_without_datasets_a_sentence_says_how_to_give_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyError) as caught:
        train.get_dataset_shard("x")
    assert said in str(caught.value)


def test_threads_that_ask_at_once_get_the_same_shard() -> None:
    _shards.provide(open_sources({"train": pa.table({"x": [1]})}))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(id(train.get_dataset_shard()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
