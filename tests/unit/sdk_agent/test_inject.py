from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import botocore
import pytest

from paceline.agent.inject import inject, main
from tests.support.agents import SDK

OWN_ABI = EXTENSION_SUFFIXES[0].split(".")[1]


@pytest.fixture
def injected(tmp_path: Path) -> Path:
    source, volume = tmp_path / "opt", tmp_path / "volume"
    shutil.copytree(SDK / "paceline", source / "core/paceline", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "vendor").mkdir()
    (source / "vendor/onlyvendored.py").write_text("")
    for abi in (OWN_ABI, "cpython-39-x86_64-linux-gnu", f"{OWN_ABI}-musl"):
        (source / "native" / abi).mkdir(parents=True)
        (source / "native" / abi / "onlynative.py").write_text(f"abi = {abi!r}")
    volume.mkdir()
    inject(volume, source)
    inject(volume, source)  # a restarted init container
    return volume


def start(volume: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    full = {
        "PATH": os.environ["PATH"],
        "PACELINE_TERMINATION_LOG": str(volume / "termination"),
        "PACELINE_AGENT_DIR": str(volume / "agent"),
        "PACELINE_AGENT_HOST": "127.0.0.1",
        "PACELINE_AGENT_PORT": "0",
        **env,
    }
    return subprocess.run(["/bin/sh", str(volume / "run"), *command], env=full, capture_output=True, text=True)


def test_the_run_script_becomes_the_agent_and_the_process_finds_paceline(injected: Path) -> None:
    program = "import paceline.train as t, os, sys; print(t.__file__); print([p for p in sys.path if 'vendor' in p])"
    done = start(injected, sys.executable, "-c", program, PACELINE_PYTHON=sys.executable, PYTHONPATH="/users/own")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(injected / "core/paceline/train/__init__.py"), "[]"]


def agent_sees(volume: Path, program: str, **env: str) -> list[str]:
    """What the agent's own interpreter prints, with what it has put on its path."""
    code = f"from paceline import _brought; _brought.reach(); {program}"
    full = {"PYTHONPATH": str(volume / "core"), **env}
    done = subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_agent_takes_the_compiled_wheels_of_its_own_python_alone(injected: Path) -> None:
    said = agent_sees(injected, "import sys, onlynative, onlyvendored; print(onlynative.abi, *sys.path[-2:])")
    assert said == [OWN_ABI, str(injected / "vendor"), str(injected / "native" / OWN_ABI)]


def test_without_wheels_for_this_python_the_agent_goes_on(injected: Path) -> None:
    shutil.rmtree(injected / "native" / OWN_ABI)
    assert agent_sees(injected, "import sys; print(sys.path[-1])") == [str(injected / "vendor")]


def test_the_images_own_packages_come_before_those_that_were_brought(injected: Path, tmp_path: Path) -> None:
    (tmp_path / "onlynative.py").write_text("abi = 'image'")
    path = f"{injected / 'core'}:{tmp_path}"
    assert agent_sees(injected, "import onlynative; print(onlynative.abi)", PYTHONPATH=path) == ["image"]


def test_home_and_tmp_can_be_written_by_any_user(injected: Path) -> None:
    assert {oct((injected / name).stat().st_mode & 0o777) for name in ("home", "tmp", "agent", "work")} == {"0o777"}


def test_an_image_without_python_is_told_clearly(injected: Path) -> None:
    done = start(injected, "train", PATH='/no"such\\path')
    message = json.loads((injected / "termination").read_text())
    assert done.returncode == message["exitCode"] == 64
    assert "no python3 on its PATH" in message["failure"]["message"]
    assert "no python3 on its PATH" in done.stderr


def test_an_image_with_an_old_python_is_told_clearly(injected: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin/python3"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 || exit 1\n')
    old.chmod(0o755)
    done = start(injected, "train", PATH=str(old.parent))
    assert done.returncode == 64
    assert "found only: python3 (Python 3.8.1)" in done.stderr


def test_a_missing_source_is_an_error_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACELINE_INJECT_SOURCE", "/no/such/place")
    assert main([str(tmp_path)]) == 1
    assert "/no/such/place" in capsys.readouterr().err


def test_a_process_in_an_image_without_botocore_has_the_agents_for_storage(injected: Path) -> None:
    """A dataset on S3, say, is read by the training process itself."""
    vendor = Path(botocore.__file__).parent.parent
    shutil.rmtree(injected / "vendor")
    (injected / "vendor").symlink_to(vendor)
    program = (
        "import sys; from paceline.storage import resolve; storage, _ = resolve('s3://bucket/x?region=eu-west-1');"
        "print('botocore' in sys.modules); print(storage._client.meta.region_name)"
    )
    # -S: no site-packages, as in an image that has nothing but Python.
    environment = {"PYTHONPATH": str(injected / "core"), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "eu-west-1"], done.stderr
