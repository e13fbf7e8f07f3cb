"""Reading a dataset in batches: Paceline beside a plain scan of pyarrow and a DataLoader of torch, in one run.

    python -m benchmarks.data [--quick] [--rounds 5] [--write benchmarks/results/data.json]

Parquet of float32 vectors with labels, from the local disk and from a real S3 server on the same machine; each reader
is a process of its own, which reads everything once as the only rank, and all take turns. Readers with torch are left
out where it is not installed. Files lie in memory (/dev/shm) where there is room, so that no disk is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data_readers import READERS
from benchmarks.numbers import machine
from e2e.cluster.s3 import S3Server

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 512  # numbers in a row
GROUP_ROWS = 8192  # 16 MiB
FILES = 4
BATCH_SIZE = 256
NEEDED_BYTES = 3 * 2**30
TIMEOUT_S = 300


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Reading a dataset in batches, beside pyarrow and torch.")
    parser.add_argument("--quick", action="store_true", help="little data, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="write the figures as JSON to this file")
    options = parser.parse_args()
    readers = [name for name in READERS if "torch" not in name or find_spec("torch")]
    groups, rounds = (1, 1) if options.quick else (4, options.rounds)
    with _folder() as folder:
        rows = _write(folder / "data", groups)
        server = S3Server.start_local(folder / "s3")
        try:
            places = {"local disk": str(folder / "data"), "S3": _upload(server, folder / "data")}
            samples = [sample for number in range(rounds) for sample in _round(server, places, readers, number)]
        finally:
            server.stop()
    figures = {
        "machine": machine(),
        "versions": {"pyarrow": pa.__version__, "torch": _torch_version()},
        "rows": rows,
        "mib": round(rows * WIDTH * 4 / 2**20),
        "batch_size": BATCH_SIZE,
        "row_group_mib": round(GROUP_ROWS * WIDTH * 4 / 2**20),
        "rounds": rounds,
        "samples": samples,
    }
    print("\n" + render(figures))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def render(figures: dict[str, Any]) -> str:
    """A Markdown table of medians: the fastest of each store first."""
    lines = [
        "| from | reader | rows/s | MiB/s | CPU, s | memory on top of the imports, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for place in dict.fromkeys(sample["place"] for sample in figures["samples"]):
        found: dict[str, list[dict[str, Any]]] = {}
        for sample in figures["samples"]:
            if sample["place"] == place:
                found.setdefault(sample["reader"], []).append(sample)
        for reader, samples in sorted(found.items(), key=lambda item: _median(item[1], "seconds")):
            seconds = _median(samples, "seconds")
            lines.append(
                f"| {place} | {reader} | {figures['rows'] / seconds:,.0f} | {figures['mib'] / seconds:,.0f}"
                f" | {_median(samples, 'cpu_s'):.2f} | {_median(samples, 'more_mib'):.0f} |"
            )
    return "\n".join(lines)


def _round(server: S3Server, places: dict[str, str], readers: list[str], number: int) -> Iterator[dict[str, Any]]:
    # Each reader gets each place in the order.
    order = readers[number % len(readers) :] + readers[: number % len(readers)]
    environment = {**os.environ, **server.environment, "PYTHONPATH": f"{ROOT / 'sdk'}:{ROOT}"}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true"}
    for place, uri in places.items():
        for reader in order:
            command = [sys.executable, "-m", "benchmarks.data_readers", reader, uri, str(BATCH_SIZE)]
            told = subprocess.check_output(command, env=environment, cwd=ROOT, text=True, timeout=TIMEOUT_S)
            sample = {"place": place, "reader": reader, **json.loads(told)}
            figures = f"{sample['seconds']:7.2f} s  CPU {sample['cpu_s']:.2f} s  {sample['more_mib']:.0f} MiB"
            print(f"{place:12s}{reader:40s}{figures}", flush=True)
            yield sample


def _write(folder: Path, groups: int) -> int:
    folder.mkdir()
    draw = np.random.default_rng(0)
    schema = pa.schema([("image", pa.list_(pa.float32(), WIDTH)), ("label", pa.int64())])
    for number in range(FILES):
        path = folder / f"{number}.parquet"
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as out:
            for _ in range(groups):
                values = pa.array(draw.random(GROUP_ROWS * WIDTH, dtype=np.float32))
                labels = pa.array(draw.integers(0, 10, GROUP_ROWS))
                images = pa.FixedSizeListArray.from_arrays(values, WIDTH)
                out.write_table(pa.table({"image": images, "label": labels}, schema=schema))
    return FILES * groups * GROUP_ROWS


def _upload(server: S3Server, folder: Path) -> str:
    uri = f"{server.make_bucket('benchmark')}/data"
    client = server.client()
    for path in sorted(folder.iterdir()):
        client.upload_file(str(path), "benchmark", f"data/{path.name}")
    return uri


def _median(samples: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(sample[key] for sample in samples))


def _torch_version() -> str:
    if not find_spec("torch"):
        return ""
    from importlib.metadata import version

    return version("torch")


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > NEEDED_BYTES
    with tempfile.TemporaryDirectory(prefix="paceline-bench-", dir=memory if roomy else None) as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
