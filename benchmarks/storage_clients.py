"""One client moves one workload once, and says how long it took: `benchmarks.storage` starts this as a process.

    storage_clients.py CLIENT up|down LOCAL s3://BUCKET/PREFIX|gs://BUCKET/PREFIX

LOCAL is a file or a directory. Prints the seconds of the transfer itself (importing and making the client are not in
it) and the most memory that the process has had, in MiB. Runs in an environment that has nothing but the client, so it
imports nothing of this repository at the top.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Move = Callable[[], object]


def main() -> int:
    """Run one transfer."""
    client, direction, local, uri = sys.argv[1:5]
    move = CLIENTS[client](direction == "up", Path(local), uri)
    begun = time.perf_counter()
    move()
    seconds = time.perf_counter() - begun
    # Not ru_maxrss: that of a new process begins at its parent's.
    peak_kib = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(f"{seconds:.4f} {int(peak_kib) / 1024:.1f}")
    return 0


def _paceline(up: bool, local: Path, uri: str) -> Move:
    from paceline.storage import resolve, transfer

    storage, path = resolve(anonymous(uri))
    storage.size(path)
    if up:
        if local.is_file():
            return lambda: transfer.put_file(storage, local, path)
        return lambda: transfer.upload_directory(storage, local, path)
    if is_one_file(uri):
        return lambda: transfer.get_file(storage, path, local)
    return lambda: transfer.download_directory(storage, path, local)


def _boto3(up: bool, local: Path, uri: str, **config: Any) -> Move:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    settings = TransferConfig(**config)
    client = boto3.client("s3", config=Config(max_pool_connections=32))
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client.list_objects_v2(Bucket=bucket, MaxKeys=1)

    def one(name: str) -> None:
        key, file = (f"{prefix}/{name}", str(local / name)) if name else (prefix, str(local))
        if up:
            client.upload_file(file, bucket, key, Config=settings)
        else:
            client.download_file(bucket, key, file, Config=settings)

    def move() -> None:
        if is_one_file(uri):
            one("")
            return
        if up:
            names = [file.name for file in local.iterdir()]
        else:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
            names = [found["Key"][len(prefix) + 1 :] for page in pages for found in page["Contents"]]
            local.mkdir()
        # boto3 moves one file a call; a caller who is in a hurry runs several.
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, names))

    return move


def _s3fs(up: bool, local: Path, uri: str) -> Move:
    import s3fs  # type: ignore[import-not-found]

    return _fsspec(s3fs.S3FileSystem(), up, local, uri)


def _gcsfs(up: bool, local: Path, uri: str) -> Move:
    import gcsfs

    return _fsspec(gcsfs.GCSFileSystem(token="anon", endpoint_url=os.environ["STORAGE_EMULATOR_HOST"]), up, local, uri)


def _fsspec(fs: Any, up: bool, local: Path, uri: str) -> Move:
    path = uri.partition("://")[2]
    fs.ls(path.partition("/")[0])
    if is_one_file(uri):
        return (lambda: fs.put_file(str(local), path)) if up else (lambda: fs.get_file(path, str(local)))
    if up:
        return lambda: fs.put(f"{local}/", f"{path}/", recursive=True)
    return lambda: fs.get(f"{path}/", f"{local}/", recursive=True)


def _arrow_store(uri: str) -> tuple[Any, str]:
    from pyarrow import fs

    kind, _, path = uri.partition("://")
    if kind == "gs":
        scheme, _, address = os.environ["STORAGE_EMULATOR_HOST"].partition("://")
        store = fs.GcsFileSystem(anonymous=True, endpoint_override=address, scheme=scheme)
    else:
        scheme, _, address = os.environ["AWS_ENDPOINT_URL"].partition("://")
        store = fs.S3FileSystem(endpoint_override=address, scheme=scheme, region=os.environ["AWS_REGION"])
    store.get_file_info(path.partition("/")[0])
    return store, path


def _pyarrow(up: bool, local: Path, uri: str) -> Move:
    from pyarrow import fs

    here, (store, path) = fs.LocalFileSystem(), _arrow_store(uri)
    if up:
        return lambda: fs.copy_files(str(local), path, source_filesystem=here, destination_filesystem=store)

    def down() -> None:
        if not is_one_file(uri):
            local.mkdir()
        fs.copy_files(path, str(local), source_filesystem=store, destination_filesystem=here)

    return down


def _ray(up: bool, local: Path, uri: str) -> Move:
    # What its report() and Checkpoint.to_directory() call for the files.
    from ray.train._internal import storage

    store, path = _arrow_store(uri)
    if up:
        return lambda: storage._upload_to_fs_path(str(local), store, path)
    return lambda: storage._download_from_fs_path(store, path, str(local))


def _aws(up: bool, local: Path, uri: str) -> Move:
    from awscli.clidriver import create_clidriver  # type: ignore[import-not-found]

    driver = create_clidriver()
    driver.main(["s3", "ls"])
    verb = "cp" if is_one_file(uri) else "sync"  # sync knows directories only
    ends = [str(local), uri] if up else [uri, str(local)]

    def move() -> None:
        if driver.main(["s3", verb, "--only-show-errors", *ends]):
            raise SystemExit("aws s3 has failed")

    return move


def _obstore(up: bool, local: Path, uri: str) -> Move:
    import obstore  # type: ignore[import-not-found]
    from obstore.store import S3Store  # type: ignore[import-not-found]

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    store = S3Store(
        bucket,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region=os.environ["AWS_REGION"],
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )

    def one(name: str) -> None:
        key, file = (f"{prefix}/{name}", local / name) if name else (prefix, local)
        if up:
            obstore.put(store, key, file)
            return
        with file.open("wb") as out:
            for piece in obstore.get(store, key).stream(min_chunk_size=1 << 20):
                out.write(piece)

    def move() -> None:
        if is_one_file(uri):
            one("")
            return
        if up:
            names = [file.name for file in local.iterdir()]
        else:
            names = [item["path"][len(prefix) + 1 :] for page in obstore.list(store, prefix) for item in page]
            local.mkdir()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, names))

    return move


def anonymous(uri: str) -> str:
    """As the server of `benchmarks.storage` wants it: the one for GCS asks for no credentials."""
    return f"{uri}?anonymous=true" if uri.startswith("gs://") else uri


def is_one_file(uri: str) -> bool:
    """By the names that `benchmarks.storage` gives."""
    return uri.endswith(".bin")


CLIENTS: dict[str, Callable[[bool, Path, str], Move]] = {
    "paceline": _paceline,
    "boto3": _boto3,
    "boto3-crt": lambda up, local, uri: _boto3(up, local, uri, preferred_transfer_client="crt"),
    "s3fs": _s3fs,
    "gcsfs": _gcsfs,
    "pyarrow": _pyarrow,
    "aws s3 sync": _aws,
    "ray train": _ray,
    "obstore": _obstore,
}

if __name__ == "__main__":
    sys.exit(main())
