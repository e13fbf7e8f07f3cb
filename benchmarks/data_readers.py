"""One reader of `benchmarks.data`, as a process of its own: reads a dataset in batches once and prints what it took.

    python -m benchmarks.data_readers READER PATH-OR-URI BATCH-SIZE

All give batches of the same rows: of 256 a float32 matrix and labels. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def paceline_numpy(uri: str, batch_size: int) -> Iterable[int]:
    """Dicts of numpy arrays."""
    from paceline.data import open_sources

    shard = open_sources({"train": uri})["train"].open()
    return (len(batch["label"]) for batch in shard.iter_batches(batch_size=batch_size))


def paceline_torch(uri: str, batch_size: int) -> Iterable[int]:
    """Tensors."""
    from paceline.data import open_sources

    shard = open_sources({"train": uri})["train"].open()
    return (len(batch["label"]) for batch in shard.iter_torch_batches(batch_size=batch_size, device="cpu"))


def paceline_mixed(uri: str, batch_size: int) -> Iterable[int]:
    """Tensors, mixed within a window."""
    from paceline.data import open_sources

    shard = open_sources({"train": uri})["train"].open()
    return (
        len(batch["label"])
        for batch in shard.iter_torch_batches(batch_size=batch_size, device="cpu", shuffle_buffer_size=16_384)
    )


def pyarrow_plain(uri: str, batch_size: int) -> Iterable[int]:
    """A scan as pyarrow gives it: record batches of its own size, nothing converted."""
    return (batch.num_rows for batch in _dataset(uri).to_batches())


def pyarrow_numpy(uri: str, batch_size: int) -> Iterable[int]:
    """A scan in batches of the size, converted by hand; the last of each row group is smaller."""
    return (len(batch["label"]) for batch in _arrays(uri, batch_size))


def torch_loader(uri: str, batch_size: int) -> Iterable[int]:
    """The same scan in an `IterableDataset`, behind a `DataLoader` with a worker process."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    class Scan(IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[dict[str, Any]]:
            for batch in _arrays(uri, batch_size):
                yield {name: torch.from_numpy(array) for name, array in batch.items()}

    return (len(batch["label"]) for batch in DataLoader(Scan(), batch_size=None, num_workers=1))


READERS: dict[str, Callable[[str, int], Iterable[int]]] = {
    "paceline, numpy": paceline_numpy,
    "paceline, torch": paceline_torch,
    "paceline, torch, window of 16,384 rows": paceline_mixed,
    "pyarrow to_batches": pyarrow_plain,
    "pyarrow to_batches, numpy by hand": pyarrow_numpy,
    "torch DataLoader over the same": torch_loader,
}


def _dataset(uri: str) -> Any:
    import pyarrow.dataset as ds

    from paceline.storage import resolve, to_arrow

    filesystem, path = to_arrow(*resolve(uri))
    return ds.dataset(path, filesystem=filesystem, format="parquet")


def _arrays(uri: str, batch_size: int) -> Iterator[dict[str, Any]]:
    for batch in _dataset(uri).to_batches(batch_size=batch_size):
        image = batch.column("image")
        yield {
            "image": image.flatten().to_numpy().reshape(len(image), -1).copy(),
            "label": batch.column("label").to_numpy().copy(),
        }


def _used() -> tuple[float, float]:
    """CPU seconds so far, and the most memory so far in MiB; of this process and of those that it waited for."""
    own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Not ru_maxrss of this process: that begins with what the process had that started it.
    status = Path("/proc/self/status").read_text()
    peak_kib = int(status.partition("VmHWM:")[2].split()[0]) + below.ru_maxrss
    return sum(usage.ru_utime + usage.ru_stime for usage in (own, below)), peak_kib / 1024


def main() -> int:
    """Read once."""
    reader, uri, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import numpy as np  # noqa: F401 - not measured
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401

    if "torch" in reader:
        import torch  # noqa: F401
    started, cpu_s, peak_mib = time.perf_counter(), *_used()
    rows = sum(READERS[reader](uri, batch_size))
    seconds = time.perf_counter() - started
    cpu_after_s, peak_after_mib = _used()
    told = {"rows": rows, "seconds": seconds, "cpu_s": cpu_after_s - cpu_s, "more_mib": peak_after_mib - peak_mib}
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of a store's client take their time to end
