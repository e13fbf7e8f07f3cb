"""`paceline secrets create`: what it prints is run by a real shell, and read by the models."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from paceline.api import TrainJobSpec
from tests.support.kube_api import KubeApi
from tests.unit.cli_commands.conftest import Paceline

# What kubectl is given: its arguments, and the content of each file that they name.
KUBECTL = """#!/bin/bash
for word in "$@"; do
  echo "arg $word"
  [[ $word == --from-file=* ]] && echo "file $(cat "${word##*=}")"
done
true
"""


def _run(text: str, tmp_path: Path, typed: str) -> list[str]:
    (command,) = (line for line in text.splitlines() if "kubectl" in line)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    (tmp_path / ".databrickscfg").write_text("[DEFAULT]")
    done = subprocess.run(
        ["bash", "-c", command],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        input=typed, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.split(" ")[0] in ("arg", "file")]


@pytest.mark.parametrize(
    ("service", "typed", "files"),
    [
        pytest.param("wandb", "s3cret\n", ["file s3cret"], id="wandb"),
        pytest.param("comet", "s3cret\n", ["file s3cret"], id="comet"),
        pytest.param("mlflow", "me\np w$1\n", ["file me", "file p w$1"], id="mlflow"),
        pytest.param("databricks", "", ["file [DEFAULT]"], id="databricks"),
    ],
)
def test_the_printed_command_makes_the_secret_without_its_value_in_an_argument(
    paceline: Paceline, api: KubeApi, tmp_path: Path, service: str, typed: str, files: list[str]
) -> None:
    ran = paceline("-n", "ml", "secrets", "create", service)
    assert (ran.code, ran.err) == (0, "")
    assert api.requests == []
    told = _run(ran.out, tmp_path, typed)
    assert told[:6] == [f"arg {word}" for word in ("-n", "ml", "create", "secret", "generic", service)]
    assert [line for line in told if line.startswith("file ")] == files
    assert "s3cret" not in " ".join(line for line in told if line.startswith("arg "))


def test_the_printed_lines_belong_into_a_manifest(paceline: Paceline) -> None:
    out = paceline("secrets", "create", "databricks", "--name", "team-databricks").out
    spec = yaml.safe_load("credentials:" + out.partition("credentials:")[2])
    (credential,) = TrainJobSpec.model_validate({"image": "train:1", "command": ["python"], **spec}).credentials
    assert credential.secret_ref.name == "team-databricks"
    assert credential.env == {"DATABRICKS_CONFIG_FILE": f"{credential.mount_path}/.databrickscfg"}


def test_an_unknown_service_is_refused_with_those_that_are_known(paceline: Paceline) -> None:
    ran = paceline("secrets", "create", "neptune")
    assert ran.code == 2
    assert "'neptune' is not one of 'wandb'" in ran.err
