"""What is in examples/ can be applied, and holds together: scripts, ConfigMaps and mounts."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from paceline.api import TrainJobSpec, check
from paceline.cli import manifests

EXAMPLES = Path(__file__).parents[2] / "examples"
# What a job needs beside it, such as a tracking server, is plain Kubernetes.
OTHER = {"kustomization.yaml", "server.yaml"}
MANIFESTS = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.name not in OTHER]
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())


def name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name)
def test_every_manifest_passes_the_check_of_submit(manifest: Path) -> None:
    jobs = manifests.read(manifest.read_text(), manifest.name)
    assert jobs
    for job in jobs:
        assert check(TrainJobSpec.model_validate(job["spec"])) == []


@pytest.mark.parametrize("script", sorted(EXAMPLES.rglob("*.py")), ids=name)
def test_every_script_compiles_on_the_oldest_python(script: Path) -> None:
    ast.parse(script.read_text(), script.name, feature_version=(3, 10))


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_every_example_has_what_its_reader_needs(folder: Path) -> None:
    files = {file.name for file in folder.iterdir()}
    assert "README.md" in files
    # What a Python script brings to the cluster by itself has no manifest of its own.
    by_fit = any(".fit()" in file.read_text() for file in folder.glob("*.py"))
    assert by_fit or {"trainjob.yaml", "kustomization.yaml"} <= files


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name)
def test_the_script_that_a_job_starts_is_in_the_config_map_that_it_mounts(manifest: Path) -> None:
    spec: Any = yaml.safe_load(manifest.read_text())["spec"]
    kustomization: Any = yaml.safe_load((manifest.parent / "kustomization.yaml").read_text())
    maps = {entry["name"]: entry["files"] for entry in kustomization["configMapGenerator"]}
    # A changing suffix would not reach the reference in the job's podTemplate, which kustomize does not know.
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True

    pod = spec["podTemplate"]["spec"]
    (volume,) = pod["volumes"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount["name"] == volume["name"]
    script = spec["command"][-1]
    assert script == f"{mount['mountPath']}/{Path(script).name}"
    assert Path(script).name in maps[volume["configMap"]["name"]]
    assert all((manifest.parent / file).is_file() for file in maps[volume["configMap"]["name"]])


@pytest.mark.parametrize("manifest", sorted(EXAMPLES.rglob("trainjob-*.yaml")), ids=name)
def test_a_job_for_another_store_differs_by_its_storage_alone(manifest: Path) -> None:
    s3, other = (yaml.safe_load(file.read_text()) for file in (manifest.parent / "trainjob.yaml", manifest))
    assert s3["spec"].pop("storage") != other["spec"].pop("storage")
    assert s3 == other
