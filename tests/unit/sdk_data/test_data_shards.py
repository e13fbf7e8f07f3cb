"""The rows of a rank: each once, the same number on all, in a replayable order, without the whole dataset in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data import DataConfig, DataShard, open_sources
from paceline.storage import StorageError
from tests.unit.sdk_data.test_data_prefetch import threads

Layout = Sequence[Sequence[int]]


def write(folder: Path, layout: Layout, kind: str = "parquet") -> str:
    """A file for each entry, a row group for each number; the rows are numbered over all."""
    number = 0
    for index, groups in enumerate(layout):
        tables = []
        for rows in groups:
            ids = range(number, number + rows)
            tables.append(pa.table({"id": pa.array(ids, pa.int64()), "name": [f"row {i}" for i in ids]}))
            number += rows
        _write(folder / f"{index:02}.{kind}", pa.concat_tables(tables), tables, kind)
    return str(folder)


def _write(path: Path, table: pa.Table, groups: Sequence[pa.Table], kind: str) -> None:
    if kind == "parquet":
        with pq.ParquetWriter(path, table.schema) as writer:
            for group in groups:
                writer.write_table(group)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, path)
    elif kind == "json":
        path.write_text("".join(f'{{"id": {row["id"]}, "name": "{row["name"]}"}}\n' for row in table.to_pylist()))
    else:
        with pa.ipc.new_file(path, table.schema) as out:
            for group in groups:
                out.write_table(group)


def shards(path: str, world_size: int, **config: Any) -> list[DataShard]:
    source = open_sources({"train": path}, DataConfig(**config))["train"]
    return [source.open(rank, world_size) for rank in range(world_size)]


def ids(shard: DataShard, **options: Any) -> list[int]:
    return [int(i) for batch in shard.iter_batches(**options) for i in batch["id"]]


@given(
    layout=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=4), min_size=1, max_size=4),
    kind=st.sampled_from(["parquet", "csv", "json", "arrow"]),
    world_size=st.integers(1, 4),
    shuffle=st.booleans(),
    window=st.none() | st.integers(1, 12),
    batch_size=st.integers(1, 9),
    skip=st.integers(0, 3),
    prefetch=st.sampled_from([0, 2]),
    remote=st.sets(st.integers(0, 3)),
)
@settings(max_examples=60, deadline=None)
def test_the_shards_are_the_dataset_without_the_remainder(
    layout: Layout,
    kind: str,
    world_size: int,
    shuffle: bool,
    window: int | None,
    batch_size: int,
    skip: int,
    prefetch: int,
    remote: set[int],
) -> None:
    total = sum(map(sum, layout))
    if total < world_size:
        return
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle_buffer_size": window, "prefetch": prefetch}
    with tempfile.TemporaryDirectory() as folder:
        for_each = []
        for shard in shards(write(Path(folder), layout, kind), world_size, shuffle=shuffle):
            for number, unit in enumerate(shard._opened.units):
                unit.remote = number in remote  # read ahead, as of a store
            batches = shard.iter_batches(**options)
            found = [list(map(int, batch["id"])) for batch in batches]
            assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
            assert len(found) == len(batches)
            for_each.append([i for batch in found for i in batch])
            assert len(for_each[-1]) == shard.count() == total // world_size
            shard.set_epoch(0)
            assert ids(shard, **options, skip_batches=skip) == for_each[-1][skip * batch_size :]
    everything = [i for part in for_each for i in part]
    assert len(set(everything)) == len(everything) == total - total % world_size
    assert set(everything) <= set(range(total))
    if not shuffle and window is None:
        assert everything == list(range(total - total % world_size))


def test_orders_differ_by_epoch_and_seed_and_come_again_with_them(tmp_path: Path) -> None:
    path = write(tmp_path, [[10, 10], [10, 10]])
    one, other = shards(path, 2, shuffle=True, seed=3)
    mixing: dict[str, Any] = {"batch_size": 8, "shuffle_buffer_size": 10}
    batches = one.iter_batches(**mixing)
    epochs = [[int(i) for batch in batches for i in batch["id"]] for _ in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    # Not only the order: after some epochs the rank has seen rows of all row groups.
    assert len({i // 10 for epoch in epochs for i in epoch}) == 4
    for epoch in (2, 0, 3):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        assert ids(one, **mixing) == epochs[epoch]
        assert sorted(ids(other, **mixing) + epochs[epoch]) == list(range(40))
    one.set_epoch(0)
    assert ids(one, **mixing, seed=8) != epochs[0]
    plain = shards(path, 2)[0]
    assert ids(plain) == ids(plain) == list(range(20))


def test_the_order_does_not_depend_on_how_the_rows_lie_in_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    few = shards(write(tmp_path / "a", [[30]]), 1)[0]
    many = shards(write(tmp_path / "b", [[3, 4], [5, 6, 7], [5]]), 1)[0]
    assert ids(few, shuffle_buffer_size=9) == ids(many, shuffle_buffer_size=9) != list(range(30))


def test_a_window_moves_rows_by_about_its_size_alone(tmp_path: Path) -> None:
    (shard,) = shards(write(tmp_path, [[4000]]), 1)
    found = ids(shard, shuffle_buffer_size=200)
    early = max(i - place for place, i in enumerate(found))
    late = max(place - i for place, i in enumerate(found))
    assert 100 < early < 200
    assert 100 < late < 2000
    assert abs(np.corrcoef(found[:100], range(100))[0, 1]) < 0.5


def test_what_is_left_out_is_told_once_by_rank_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, [[5, 6]])
    shards(path, 4)
    assert capsys.readouterr().err == (
        "paceline: datasets['train'] has 11 rows: each of 4 ranks gets 2, and 3 are left out\n"
    )
    whole = shards(path, 4, datasets_to_split=[])
    assert [shard.count() for shard in whole] == [11] * 4
    assert ids(whole[3]) == list(range(11))
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match=r"has 11 rows for 12 ranks: .*datasets_to_split"):
        shards(path, 12)


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "arrow"])
def test_every_format_gives_columns_in_every_form(tmp_path: Path, kind: str) -> None:
    (shard,) = shards(write(tmp_path, [[3], [2]], kind), 1)
    assert shard.schema.names == ["id", "name"]
    (batch,) = shard.iter_batches(batch_format="pyarrow")
    assert batch.to_pydict() == {"id": [0, 1, 2, 3, 4], "name": [f"row {i}" for i in range(5)]}
    (frame,) = shard.iter_batches(batch_format="pandas", columns=["name", "id"])
    assert list(frame.columns) == ["name", "id"]
    assert list(frame["id"]) == [0, 1, 2, 3, 4]
    assert [batch["name"] for batch in shard.iter_batches(batch_format="dict", columns=["name"], batch_size=4)] == [
        ["row 0", "row 1", "row 2", "row 3"],
        ["row 4"],
    ]
    assert len(list(shard.iter_batches(batch_size=4, drop_last=True))) == 1


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        pytest.param({"batch_size": 0}, ValueError, "batch_size is 0: pass a whole number from 1", id="batch size"),
        pytest.param({"batch_size": 2.5}, TypeError, "batch_size is 2.5, a float", id="no whole number"),
        pytest.param({"prefetch": -1}, ValueError, "prefetch is -1", id="prefetch"),
        pytest.param({"shuffle_buffer_size": 0}, ValueError, "shuffle_buffer_size is 0", id="window"),
        pytest.param({"batch_format": "torch"}, ValueError, "use 'numpy', 'pyarrow', 'pandas' or 'dict'", id="format"),
        pytest.param(
            {"columns": ["nmae"]}, ValueError, "'nmae', which is no column: there are 'id', 'name'", id="column"
        ),
        pytest.param({"columns": "name"}, TypeError, "pass a list of names", id="a text as columns"),
        pytest.param({"columns": []}, ValueError, "name at least one column", id="no column"),
        pytest.param({"drop_last": 1}, TypeError, "pass True or False", id="drop_last"),
    ],
)
def test_a_wrong_option_is_told_in_the_line_that_gives_it(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    (shard,) = shards(write(tmp_path, [[3]]), 1)
    with pytest.raises(error, match=said):
        shard.iter_batches(**options)
    with pytest.raises(ValueError, match=r"set_epoch\(-1\)"):
        shard.set_epoch(-1)


def test_scripts_from_ray_may_keep_their_names_of_the_options(tmp_path: Path) -> None:
    (shard,) = shards(write(tmp_path, [[30]]), 1)
    ours = shard.iter_batches(shuffle_buffer_size=9, seed=5, prefetch=1, batch_size=7)
    theirs = shard.iter_batches(local_shuffle_buffer_size=9, local_shuffle_seed=5, prefetch_batches=1, batch_size=7)  # type: ignore[call-arg]
    shard.set_epoch(0)
    found = [int(i) for batch in ours for i in batch["id"]]
    shard.set_epoch(0)
    assert [int(i) for batch in theirs for i in batch["id"]] == found
    with pytest.raises(TypeError, match="local_shuffle_seed and seed are the same argument"):
        shard.iter_batches(local_shuffle_seed=5, seed=6)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'batchsize'"):
        shard.iter_batches(batchsize=5)  # type: ignore[call-arg]


def test_damaged_and_ill_fitting_files_are_named(tmp_path: Path) -> None:
    for name in ("cut", "other", "text"):
        (tmp_path / name).mkdir()
    write(tmp_path / "cut", [[3]])
    (tmp_path / "cut/01.parquet").write_bytes((tmp_path / "cut/00.parquet").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"cannot read .*cut/01\.parquet"):
        shards(str(tmp_path / "cut"), 1)
    write(tmp_path / "other", [[3]])
    pq.write_table(pa.table({"id": [1]}), tmp_path / "other/01.parquet")
    with pytest.raises(ValueError, match=r"01\.parquet has no column 'name', which .*00\.parquet has"):
        shards(str(tmp_path / "other"), 1)
    (tmp_path / "text/a.csv").write_text("id\n" + "1\n" * 3)
    (tmp_path / "text/b.csv").write_text("id\nx\n")
    (shard,) = shards(str(tmp_path / "text"), 1)
    with pytest.raises(ValueError, match=r"cannot read .*b\.csv.*'x'"):
        list(shard.iter_batches())
    with pa.ipc.new_stream(tmp_path / "a.arrow", pa.schema([("id", pa.int64())])) as out:
        out.write_table(pa.table({"id": list(range(9))}))
    with pytest.raises(ValueError, match=r"a\.arrow is no file of Arrow's IPC format"):
        shards(str(tmp_path / "a.arrow"), 1)


def test_a_dataset_that_changes_under_the_run_is_an_error_and_no_hang(tmp_path: Path) -> None:
    path = write(tmp_path, [[3], [40]], "csv")
    (shard,) = shards(path, 1)
    (tmp_path / "00.csv").write_text('"id","name"\n1,"a"\n')
    with pytest.raises(RuntimeError, match=r"00\.csv has 2 rows fewer than when the run counted them"):
        list(shard.iter_batches())
    (tmp_path / "00.csv").unlink()
    with pytest.raises(StorageError, match=r"00\.csv is gone"):
        list(shard.iter_batches())
    assert threads() == []


def test_processes_of_a_machine_share_what_one_has_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "data").mkdir()
    source = open_sources({"train": write(tmp_path / "data", [[3, 3], [3, 3]])})["train"]
    first = source.open(0, 2, shared_as="run 0")
    (tmp_path / "data/00.parquet").rename(tmp_path / "data/away")
    second = source.open(1, 2, shared_as="run 0")  # looks at no file
    assert second.schema == first.schema
    assert ids(second) == list(range(6, 12))
    assert source.open(0, 1, shared_as="run 1").count() == 6  # another attempt looks again
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    assert source.open(0, 1, shared_as="run 0").count() == 6


def test_a_dataset_much_larger_than_a_row_group_is_never_in_memory(tmp_path: Path) -> None:
    rows, groups = 10_240, 8  # of 10 MiB
    schema = pa.schema([("image", pa.list_(pa.float32(), 256))])
    draw = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "big.parquet", schema, compression="none", use_dictionary=False) as writer:
        for _ in range(groups):
            values = pa.array(draw.random(rows * 256, dtype=np.float32))
            column = pa.FixedSizeListArray.from_arrays(values, 256)
            writer.write_table(pa.table({"image": column}, schema=schema))
    group_bytes = rows * 256 * 4
    program = (
        "import sys, pyarrow; from paceline.data import open_sources\n"
        "batches = open_sources({'train': sys.argv[1]})['train'].open().iter_batches(batch_size=64)\n"
        "print(sum(len(batch['image']) for batch in batches), pyarrow.default_memory_pool().max_memory())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.check_output([sys.executable, "-c", program, str(tmp_path / "big.parquet")], env=env, text=True)
    seen, peak_bytes = map(int, told.split())
    assert seen == rows * groups
    assert peak_bytes <= 3 * group_bytes, f"{peak_bytes / group_bytes:.1f} row groups"


def test_without_numpy_it_is_asked_for_where_it_is_needed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow works without it."""
    pq.write_table(pa.table({"id": range(4)}), tmp_path / "0.parquet")
    (shard,) = shards(str(tmp_path), 1)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert [table.num_rows for table in shard.iter_batches(batch_format="pyarrow")] == [4]
    calls: list[tuple[Callable[[], Any], str]] = [
        (shard.iter_batches, "batch_format='numpy'"),
        (shard.iter_torch_batches, "iter_torch_batches"),
        (lambda: shard.iter_batches(batch_format="dict", shuffle_buffer_size=2), "shuffle_buffer_size"),
    ]
    for call, what in calls:
        with pytest.raises(ImportError, match=f"{what} needs numpy: pip install numpy"):
            call()
