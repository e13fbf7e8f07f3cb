"""Checkpoint transfers to and from S3 or GCS: Paceline beside the clients that people use, on one real server.

    python -m benchmarks.storage [--store gcs] [--quick] [--rounds 5] [--client boto3 ...] [--write FILE.json]
    python -m benchmarks.storage --table FILE.json      # brings docs/benchmarks.md up to date

The files are benchmarks/results/storage.json (S3) and storage-gcs.json.

Each client runs as a process of its own, in an environment of its own with the versions below, all of them in turn in
each round, so that a busy moment of the machine meets all alike. Server and clients share the machine's cores; data of
both lies in memory (/dev/shm) where there is room, so that no disk is measured. Needs `uv` for the environments.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import numbers, storage_clients, storage_table
from e2e.cluster.gcs import GcsServer
from e2e.cluster.s3 import S3Server
from paceline.storage import resolve

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
PYTHON = "3.11"
# What each environment holds; "paceline" is this repository's own.
CLIENTS: dict[str, tuple[str, ...]] = {
    "paceline": (),
    "boto3": ("boto3==1.43.117",),
    "s3fs": ("s3fs==2026.9.0",),
    "gcsfs": ("gcsfs==2026.10.1",),
    "pyarrow": ("pyarrow==26.0.1",),
    "aws s3 sync": ("awscli==1.46.2",),
    "ray train": ("ray[train]==2.60.0",),
    # Not among those that the figures are held against: they show what compiled clients can do.
    "boto3-crt": ("boto3[crt]==1.43.117",),
    "obstore": ("obstore==0.12.1",),
}
BUCKET = "benchmark"
TIMEOUT_S = 600
NEEDED_BYTES = 6 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class Workload:
    """`files` files of `size_bytes` each."""

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One transfer by one client."""

    client: str
    workload: str
    direction: str  # up | down
    seconds: float
    client_cpu_s: float  # of the whole process, start and imports included
    server_cpu_s: float
    peak_mib: float  # resident memory of the client's process


@dataclass(frozen=True, slots=True)
class Store:
    """A kind of store, who is measured on it, and what is moved."""

    scheme: str
    server: type[S3Server] | type[GcsServer]
    measured: tuple[str, ...]
    full: tuple[Workload, ...]
    quick: tuple[Workload, ...]


_SMALL = Workload("1,000 files of 10 kB", 1000, 10_000)
_FEW = Workload("100 files of 10 kB", 100, 10_000)
STORES = {
    "s3": Store(
        scheme="s3",
        server=S3Server,
        measured=("paceline", "boto3", "s3fs", "pyarrow", "aws s3 sync", "ray train"),
        full=(Workload("1 GiB in one file", 1, 1024 * MIB), _SMALL),
        quick=(Workload("64 MiB in one file", 1, 64 * MIB), _FEW),
    ),
    # The server buffers an object whole: none is larger than 64 MiB.
    "gcs": Store(
        scheme="gs",
        server=GcsServer,
        measured=("paceline", "gcsfs", "pyarrow"),
        full=(Workload("512 MiB in 8 files", 8, 64 * MIB), _SMALL),
        quick=(Workload("32 MiB in 2 files", 2, 16 * MIB), _FEW),
    ),
}


def main() -> int:
    """Run the benchmark, print its table, and write it where asked."""
    parser = argparse.ArgumentParser(description="Transfers to and from a store, beside other clients.")
    parser.add_argument("--store", choices=list(STORES), default="s3")
    parser.add_argument("--quick", action="store_true", help="small files, one round: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="several times; default: all")
    parser.add_argument("--write", type=Path, help="write the figures as JSON to this file")
    parser.add_argument("--table", type=Path, help="measure nothing: put the figures of this file into the docs")
    options = parser.parse_args()
    if options.table:
        storage_table.write(json.loads(options.table.read_text()), ROOT / "docs/benchmarks.md")
        return 0
    store = STORES[options.store]
    clients = tuple(options.client or store.measured)
    workloads, rounds = (store.quick, 1) if options.quick else (store.full, options.rounds)
    with _folder() as folder, store.server.start_local(folder / options.store) as server:
        server.make_bucket(BUCKET)
        pythons = {name: _environment(folder / "env", name) for name in clients}
        samples = list(_measure(folder, store.scheme, server, pythons, workloads, rounds))
    figures = {
        "store": options.store,
        "machine": _machine(),
        "rounds": rounds,
        "versions": {name: " ".join(CLIENTS[name]) or "this repository" for name in clients},
        "workloads": [asdict(workload) for workload in workloads],
        "samples": [asdict(sample) for sample in samples],
    }
    print("\n" + storage_table.render(figures))
    if options.write:
        options.write.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _measure(
    folder: Path,
    scheme: str,
    server: S3Server | GcsServer,
    pythons: dict[str, Path],
    workloads: tuple[Workload, ...],
    rounds: int,
) -> Iterator[Sample]:
    for workload in workloads:
        source = _data(folder, workload)
        for number in range(rounds):
            # Each client gets each place in the order.
            order = [*pythons][number % len(pythons) :] + [*pythons][: number % len(pythons)]
            for client in order:
                uri = f"{scheme}://{BUCKET}/{client.replace(' ', '-')}" + (".bin" if workload.files == 1 else "")
                back = folder / "back"
                for direction, local in (("up", source), ("down", back)):
                    sample = _run(server, pythons[client], client, workload, direction, local, uri)
                    print(_line(sample), flush=True)
                    yield sample
                _compare(client, source, back)
                shutil.rmtree(back) if back.is_dir() else back.unlink()
                _empty(uri, server)
        shutil.rmtree(source) if source.is_dir() else source.unlink()


def _line(sample: Sample) -> str:
    return (
        f"{sample.workload:22s} {sample.direction:5s}{sample.client:12s} {sample.seconds:7.2f} s  "
        f"CPU {sample.client_cpu_s:.2f} + {sample.server_cpu_s:.2f} s  {sample.peak_mib:.0f} MiB"
    )


def _run(
    server: S3Server | GcsServer, python: Path, client: str, workload: Workload, direction: str, local: Path, uri: str
) -> Sample:
    environment = {**os.environ, **server.environment, "PYTHONPATH": "", "AWS_EC2_METADATA_DISABLED": "true"}
    if client == "paceline":
        environment["PYTHONPATH"] = str(ROOT / "sdk")
    command = [str(python), storage_clients.__file__, client, direction, str(local), uri]
    before = server_cpu_s(server)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    # Not Popen.wait: only this tells what the one process used.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{client} failed to move {workload.name} {direction}")
    seconds, peak_mib = said.split()[-2:]
    cpu_s = usage.ru_utime + usage.ru_stime
    used_s = server_cpu_s(server) - before
    return Sample(client, workload.name, direction, float(seconds), cpu_s, used_s, float(peak_mib))


def _environment(folder: Path, client: str) -> Path:
    wanted = CLIENTS[client]
    if not wanted:
        return Path(sys.executable)
    place = folder / client.replace(" ", "-")
    subprocess.run(["uv", "venv", "--quiet", "--python", PYTHON, str(place)], check=True)
    python = place / "bin" / "python"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), *wanted], check=True)
    return python


def _data(folder: Path, workload: Workload) -> Path:
    if workload.files == 1:
        source = folder / "source.bin"
        with source.open("wb") as f:
            for _ in range(0, workload.size_bytes, MIB):
                f.write(random.randbytes(MIB))
        return source
    source = folder / "source"
    source.mkdir()
    for i in range(workload.files):
        (source / f"part-{i:05d}").write_bytes(random.randbytes(workload.size_bytes))
    return source


def _compare(client: str, source: Path, back: Path) -> None:
    if source.is_file():
        same = back.is_file() and filecmp.cmp(source, back, shallow=False)
    else:
        names = sorted(p.name for p in source.iterdir())
        same = names == sorted(p.name for p in back.iterdir()) and not any(
            filecmp.cmpfiles(source, back, names, shallow=False)[1:]
        )
    if not same:
        raise SystemExit(f"{client}: what came back is not what was stored")


def _empty(uri: str, server: S3Server | GcsServer) -> None:
    """By our own client, whose listings the tests hold against others'."""
    with _environ(server.environment):
        storage, path = resolve(storage_clients.anonymous(uri))
        storage.delete_directory(path)
        storage.delete(path)


@contextmanager
def _environ(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def server_cpu_s(server: S3Server | GcsServer) -> float:
    """CPU seconds that the server has used so far."""
    return numbers.cpu_s(psutil.Process(server.process.pid))


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > NEEDED_BYTES
    with tempfile.TemporaryDirectory(prefix="paceline-bench-", dir=memory if roomy else None) as name:
        yield Path(name)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_at_end": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
