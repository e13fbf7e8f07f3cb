"""`submit`, `suspend`, `resume` and `delete` as a user calls them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.cli_objects import job_body
from tests.support.kube_api import KubeApi
from tests.support.trainjobs import make_trainjob
from tests.unit.cli_commands.conftest import Paceline


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    body = make_trainjob().body()
    del body["metadata"]["namespace"]
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(body))
    return file


def test_submit_creates_the_job_as_it_was_written(api: KubeApi, paceline: Paceline, manifest: Path) -> None:
    ran = paceline("submit", str(manifest))
    assert (ran.code, ran.out) == (0, "trainjob digits created in namespace default\n")
    assert api.sent == [yaml.safe_load(manifest.read_text())]
    assert "dryRun" not in api.requests[-1][1]


def test_submit_reads_standard_input(
    api: KubeApi, paceline: Paceline, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(manifest.read_text()))
    assert paceline("submit", "-", "-n", "ml").out == "trainjob digits created in namespace ml\n"


def test_a_dry_run_is_checked_by_the_server_and_creates_nothing(
    api: KubeApi, paceline: Paceline, manifest: Path
) -> None:
    ran = paceline("submit", str(manifest), "--dry-run", "--wait")
    assert ran.code == 0
    assert "(dry run)" in ran.out
    assert "dryRun=All" in api.requests[-1][1]


def test_a_wrong_manifest_is_not_sent(api: KubeApi, paceline: Paceline, manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("image:", "imagee:"))
    ran = paceline("submit", str(manifest))
    assert ran.code == 2
    assert "spec.imagee: no such field" in ran.err
    assert api.requests == []


def test_what_the_server_refuses_is_code_2_in_its_words(api: KubeApi, paceline: Paceline, manifest: Path) -> None:
    api.put(job_body(phase="Running"))
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        if method == "PATCH":
            api.fail_next(422, "Invalid", "spec.image is fixed at creation")
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]
    ran = paceline("submit", str(manifest))
    assert ran.code == 2
    assert "spec.image is fixed at creation" in ran.err


def test_a_finished_job_is_not_started_again(api: KubeApi, paceline: Paceline, manifest: Path) -> None:
    api.put(job_body(phase="Succeeded"))
    ran = paceline("submit", str(manifest))
    assert ran.code == 2
    assert "never starts again" in ran.err
    assert api.sent == []


def test_submit_and_wait_ends_as_the_job_does(api: KubeApi, paceline: Paceline, manifest: Path) -> None:
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        answered = original(method, url, body)
        if method == "PATCH":
            api.put(job_body(phase="Failed"))
        return answered

    api.answer = answer  # type: ignore[method-assign]
    assert paceline("submit", str(manifest), "--wait").code == 1


def test_namespaces_of_flag_and_manifest_must_agree(paceline: Paceline, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(make_trainjob(namespace="ml").body()))
    assert paceline("submit", str(file), "-n", "other").code == 2
    assert "namespace ml" in paceline("submit", str(file)).out


def test_suspend_and_resume_set_the_field(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    assert paceline("suspend", "digits").code == 0
    assert paceline("resume", "digits").code == 0
    assert api.sent == [{"spec": {"suspend": True}}, {"spec": {"suspend": False}}]


def test_a_finished_job_cannot_be_suspended(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Failed"))
    assert paceline("suspend", "digits").code == 2


def test_delete(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    assert paceline("delete", "digits").code == 0
    assert api.jobs == {}
    assert paceline("delete", "digits").code == 3
