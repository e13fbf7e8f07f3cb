"""The commands as a user calls them, against an API server that the test holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paceline.cli import main
from tests.support.kube_api import KubeApi, serving


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Paceline = Callable[..., Ran]


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with serving(KubeApi()) as api:
        yield api


@pytest.fixture
def paceline(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Paceline:
    """Run a command through the entry point, with a kubeconfig that leads to `api`."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))

    def run(*args: str, program: str = "paceline") -> Ran:
        monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}", *args])
        with pytest.raises(SystemExit) as ended:
            main.run()
        out, err = capfdbinary.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, out.decode(), err.decode())

    return run
