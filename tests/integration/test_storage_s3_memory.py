"""The memory of a process that moves a large checkpoint does not depend on the checkpoint's size."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster.s3 import S3Server

MIB = 1024 * 1024
# What an agent may use, whatever it moves: 300 MB, of which the interpreter and boto3 take about 65.
BOUND_MIB = 300

MOVE = """
import pathlib, sys
from paceline.storage import resolve, transfer
storage, path = resolve(sys.argv[1])
stored = transfer.upload_directory(storage, sys.argv[2], path)
transfer.download_directory(storage, path, sys.argv[3], expected=stored)
# Not ru_maxrss: that of a new process begins at its parent's.
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_half_a_gibibyte_is_moved_within_the_bound(s3_server: S3Server, tmp_path: Path) -> None:
    s3_server.make_bucket("memory")
    source = tmp_path / "source"
    source.mkdir()
    piece = random.randbytes(MIB)
    for name, mebibytes in {"model.pt": 384, "optimizer.pt": 128}.items():
        with (source / name).open("wb") as f:
            for i in range(mebibytes):
                f.write(i.to_bytes(4, "big") + piece[4:])
    for i in range(200):
        (source / f"part-{i}").write_bytes(piece[:10_000])
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", MOVE, "s3://memory/x", str(source), str(tmp_path / "back")],
        env={**os.environ, **s3_server.environment, "PYTHONPATH": str(root / "sdk")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    peak_mib = int(ran.stdout)
    assert peak_mib < BOUND_MIB
    for file in source.iterdir():
        assert (tmp_path / "back" / file.name).stat().st_size == file.stat().st_size
