"""The working directory travels as a zip: what is in it, what stays behind, and how a worker unpacks it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cloudpickle
import pytest

import paceline
from paceline.trainer.cluster import workdir

PACK = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root / "project"))
import mine_alone
from paceline.trainer import Framework, Kubernetes, Task
from paceline.trainer.cluster import taskplace
task = Task(mine_alone.train_fn, None, False, Framework(), name="mine_alone.py:train_fn")
for name, data in taskplace.files(task, Kubernetes(image="i", working_dir=root / "project")).items():
    (root / name).write_bytes(data)
other = taskplace.files(task, Kubernetes(image="i", working_dir=root / "elsewhere"))
(root / "without").write_bytes(other["task"])
"""


def make(root: Path) -> Path:
    for name in ("train.py", "lib/model.py", "data/big.bin", "lib/__pycache__/x.pyc", ".git/HEAD", "runs/a.ckpt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o700)
    (root / "dangling").symlink_to(root / "nowhere")
    return root


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    first = workdir.pack(make(tmp_path / "a"), ["data", "*.ckpt"])
    other = make(tmp_path / "b")
    os.utime(other / "train.py", (0, 0))
    assert workdir.pack(other, ["data/", "runs/*"]) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["lib/model.py", "run.sh", "train.py"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o755


def test_too_much_and_too_little_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Kubernetes\.working_dir is '.*none'"):
        workdir.pack(tmp_path / "none")
    with (tmp_path / "weights.bin").open("wb") as sparse:
        sparse.truncate(workdir.LIMIT_BYTES + (1 << 20))
    with pytest.raises(ValueError, match=r"101 MiB.*weights\.bin \(101 MiB\).*Kubernetes\.exclude"):
        workdir.pack(tmp_path)
    assert workdir.pack(tmp_path, ["weights.*"])


def test_a_worker_imports_from_it_before_the_task_is_read(tmp_path: Path) -> None:
    """A process as the agent starts it: the function's module is in the zip alone, cloudpickle in `vendor` alone."""
    for package, target in ((paceline, "brought/core/paceline"), (cloudpickle, "brought/vendor/cloudpickle")):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / "mine_alone.py").write_text("def train_fn():\n    print('trained by', __file__)\n")
    subprocess.run([sys.executable, "-c", PACK, str(tmp_path)], check=True)
    task = tmp_path / "task"
    # By name where the directory that goes along has the module, so that it is one module; else by value.
    assert b"trained by" not in task.read_bytes()
    assert b"trained by" in (tmp_path / "without").read_bytes()
    # -S: no site-packages, as in an image that has nothing but Python.
    worker = [sys.executable, "-S", "-m", "paceline.trainer.worker", str(task)]
    environment = {"PYTHONPATH": str(tmp_path / "brought/core"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(worker, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"trained by {tmp_path}/paceline-working-dir-\w+/mine_alone\.py\n", done.stdout)

    task.write_bytes(task.read_bytes().replace(b'"python": "', b'"python": "9.', 1))
    refused = subprocess.run(worker, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert refused.returncode == 64
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"pickled by Python 9.{here}, and this worker runs Python {here}" in refused.stderr
