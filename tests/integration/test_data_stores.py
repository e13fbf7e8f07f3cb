"""Datasets on real stores: patterns, formats and ranks; a rank asks for its part; what a store refuses is told."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from e2e.cluster.gcs import GcsServer
from e2e.cluster.s3 import S3Server
from paceline.data import DataConfig, open_sources
from paceline.storage import StorageError, join, resolve
from tests.support import timeouts
from tests.support.faultproxy import FaultProxy

ROWS = 4000
TABLE = pa.table({"id": range(ROWS), "name": [f"row {i}" for i in range(ROWS)]})


def keys(server: S3Server) -> Mapping[str, str]:
    return {name: value for name, value in server.environment.items() if "ENDPOINT" not in name}


def asked_bytes(proxy: FaultProxy) -> int:
    """The sum of all ranges that were asked for."""
    ranges = [value for seen in proxy.requests for key, value in seen.headers.items() if key.lower() == "range"]
    ends = [tuple(map(int, text.removeprefix("bytes=").split("-"))) for text in ranges]
    return sum(last - first + 1 for first, last in ends)


@pytest.fixture(params=["s3", "gs"])
def base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory of its own on each store, as a URI."""
    name = uuid.uuid4().hex[:8]
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3_server")
        for key, value in keys(s3).items():
            monkeypatch.setenv(key, value)
        return f"{s3.make_bucket('tests')}/{name}?endpoint_override={s3.endpoint}"
    gcs: GcsServer = request.getfixturevalue("gcs_server")
    return f"{gcs.make_bucket('tests')}/{name}?endpoint_override={gcs.endpoint}&anonymous=true"


def test_ranks_share_the_files_of_a_store(base: str, tmp_path: Path) -> None:
    third = ROWS // 3
    for number in range(3):
        part = TABLE.slice(number * third, third)
        pq.write_table(part, tmp_path / "part.parquet", row_group_size=500)
        pyarrow.csv.write_csv(part, tmp_path / "part.csv")
        for suffix in ("parquet", "csv"):
            storage, path = resolve(join(base, suffix, f"{number}.{suffix}"))
            storage.put_file(str(tmp_path / f"part.{suffix}"), path)
    storage, path = resolve(join(base, "parquet", "_SUCCESS"))
    storage.write(path, b"")
    sources = open_sources(
        {
            "pattern": join(base, "parquet", "*.parquet"),
            "directory": join(base, "parquet"),
            "list": [join(base, "csv", f"{number}.csv") for number in range(3)],
        },
        DataConfig(shuffle=["pattern"]),
    )
    for name, source in sources.items():
        found = []
        for rank in range(2):
            shard = source.open(rank, 2)
            assert shard.count() == 3 * third // 2
            found += [int(i) for batch in shard.iter_batches(shuffle_buffer_size=64) for i in batch["id"]]
        assert len(set(found)) == len(found) == 3 * third - 3 * third % 2, name
        assert set(found) <= set(range(3 * third))
    with pytest.raises(FileNotFoundError, match="matches no file"):
        open_sources({"train": join(base, "parquet", "*.csv")})["train"].open()
    with pytest.raises(FileNotFoundError, match="is not there, or has no files"):
        open_sources({"train": join(base, "nothing")})["train"].open()


def test_a_rank_asks_the_store_for_its_part_alone(
    s3_server: S3Server,
    fault_proxy: Callable[..., FaultProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in keys(s3_server).items():
        monkeypatch.setenv(key, value)
    values = pa.array(np.random.default_rng(0).random(16 * 65_536, dtype=np.float32))
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(values, 64), "id": range(16_384)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1024, compression="none")
    size = (tmp_path / "a.parquet").stat().st_size
    proxy = fault_proxy(s3_server.endpoint)
    uri = f"{s3_server.make_bucket('tests')}/{uuid.uuid4().hex}/a.parquet?endpoint_override={proxy.endpoint}"
    storage, path = resolve(uri)
    storage.put_file(str(tmp_path / "a.parquet"), path)
    source = open_sources({"train": uri})["train"]
    shard = source.open(2, 4)
    before = asked_bytes(proxy)
    assert sum(len(batch["v"]) for batch in shard.iter_batches()) == 4096
    assert size / 4 < asked_bytes(proxy) - before < size / 3
    before = asked_bytes(proxy)
    assert sum(len(batch["id"]) for batch in shard.iter_batches(columns=["id"])) == 4096
    assert asked_bytes(proxy) - before < size / 20

    # The next row group is on its way before the first batch of this one is used; the one after it is not.
    monkeypatch.setattr("paceline.data.shard._TOGETHER_BYTES", 0)
    before = asked_bytes(proxy)
    batches = iter(source.open().iter_batches(batch_size=8))
    next(batches)
    deadline = time.monotonic() + timeouts.LOCAL_S
    while asked_bytes(proxy) - before < size / 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert size / 8 < asked_bytes(proxy) - before < size / 5.5
    del batches
    assert "paceline-data" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("bucket", "env", "said"),
    [
        pytest.param(
            "tests", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_ACCESS_KEY_ID and AWS_SECRET", id="secret"
        ),
        pytest.param("no-such", {}, "NoSuchBucket", id="bucket"),
    ],
)
def test_what_a_store_refuses_is_told_with_the_way_out(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, bucket: str, env: dict[str, str], said: str
) -> None:
    s3_server.make_bucket("tests")
    for key, value in {**keys(s3_server), **env}.items():
        monkeypatch.setenv(key, value)
    source = open_sources({"train": f"s3://{bucket}/x/*.parquet?endpoint_override={s3_server.endpoint}"})["train"]
    with pytest.raises(StorageError, match=said) as caught:
        source.open()
    assert "wrong" not in str(caught.value)
