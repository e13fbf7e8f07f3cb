"""A cluster that cannot be used: code 5, what to do, and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from paceline.client.errors import from_response
from tests.support.kube_api import KubeApi
from tests.unit.cli_commands.conftest import Paceline


def test_without_the_crd_it_says_how_to_install(api: KubeApi, paceline: Paceline) -> None:
    api.crd = False
    for args in (["get"], ["get", "a"], ["wait", "a"]):
        ran = paceline(*args)
        assert ran.code == 5
        assert "helm install paceline" in ran.err


def test_without_a_kubeconfig(paceline: Paceline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    ran = paceline("get")
    assert ran.code == 5
    assert str(tmp_path / "none") in ran.err
    assert "--kubeconfig" in ran.err


@pytest.mark.parametrize("text", ["{", "a: [", "just text", "apiVersion: v1\nkind: Config\n"])
def test_with_a_broken_kubeconfig(paceline: Paceline, tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken"
    broken.write_text(text)
    ran = paceline("get", "--kubeconfig", str(broken))
    assert ran.code == 5
    assert "Traceback" not in ran.err


def test_with_an_unknown_context(paceline: Paceline) -> None:
    ran = paceline("get", "--context", "nowhere")
    assert ran.code == 5
    assert "nowhere" in ran.err


def test_where_nobody_listens(api: KubeApi, paceline: Paceline, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        api.server = f"http://127.0.0.1:{free.getsockname()[1]}"
    ran = paceline("get", "--kubeconfig", str(api.kubeconfig(tmp_path)))
    assert ran.code == 5
    assert api.server in ran.err
    assert "refused" in ran.err


def test_forbidden_names_what_and_the_way_out(api: KubeApi, paceline: Paceline) -> None:
    api.fail_next(403, "Forbidden", 'User "eve" cannot list resource "trainjobs"')
    ran = paceline("get")
    assert ran.code == 5
    assert 'User "eve" cannot list' in ran.err
    assert "Role" in ran.err


@pytest.mark.parametrize(
    ("status", "is_status", "code", "told"),
    [
        (401, True, 5, "log in again"),
        (403, True, 5, "Role"),
        (404, True, 3, "said"),
        (404, False, 5, "helm install"),
        (409, True, 2, "said"),
        (422, True, 2, "said"),
        (429, True, 5, "429"),
        (503, False, 5, "503"),
        (418, True, 5, "418"),
    ],
)
def test_answers_become_exit_codes(status: int, is_status: bool, code: int, told: str) -> None:
    error = from_response(status, "Reason", "said", doing="get it", is_status=is_status)
    assert error.exit_code == code
    assert told in str(error)
