"""`logs` and `wait` as a user calls them."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.client import follow, jobs, podlog
from tests.support.cli_objects import CHECKPOINT, job_body, pod
from tests.support.kube_api import KubeApi
from tests.unit.cli_commands.conftest import Paceline

ENDED: dict[str, Any] = {"terminated": {"exitCode": 0}}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.01)
    monkeypatch.setattr(podlog, "LOOK_S", 0.01)
    monkeypatch.setattr(follow, "LOOK_S", 0.01)


def modified(**status: Any) -> dict[str, Any]:
    body = job_body(**status)
    return {"type": "MODIFIED", "object": body}


def test_wait_follows_to_success(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Starting"))
    api.watch_events.extend(
        [
            modified(phase="Running", workers={"desired": 4, "running": 4}),
            modified(phase="Running", workers={"desired": 4, "running": 4}, checkpoint=CHECKPOINT),
            modified(phase="Succeeded", result={"metrics": {"accuracy": 0.97}}, checkpoint=CHECKPOINT),
        ]
    )
    ran = paceline("wait", "digits")
    assert ran.code == 0
    phases = [line.split()[2] for line in ran.out.splitlines() if "  digits  " in line]
    assert phases == ["Starting", "Running", "Running", "Succeeded"]
    assert "accuracy=0.97" in ran.out
    assert str(CHECKPOINT["path"]) in ran.out


def test_wait_for_a_failed_job_is_code_1(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Failed"))
    assert paceline("wait", "digits").code == 1


def test_wait_sees_what_the_watch_has_not_told(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> Any:
        if "watch" in url:
            api.watch_events.append({"type": "ERROR", "object": {"code": 410}})
            api.put(job_body(phase="Succeeded"))
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]
    assert paceline("wait", "digits").code == 0


def test_wait_outlives_an_api_server_that_is_away_for_a_moment(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    original = api.answer
    seen = iter([None, (503, "Unavailable", "starting"), None])

    def answer(method: str, url: str, body: bytes) -> Any:
        if (failure := next(seen, None)) is not None:
            api.fail_next(*failure)
        elif "watch" in url:
            api.put(job_body(phase="Succeeded"))
        return original(method, url, body)

    api.answer = answer  # type: ignore[method-assign]
    assert paceline("wait", "digits").code == 0


def test_wait_for_a_job_that_is_deleted_is_code_3(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    api.watch_events.append({"type": "DELETED", "object": job_body(phase="Running")})
    ran = paceline("wait", "digits")
    assert ran.code == 3
    assert "was deleted" in ran.err


def test_wait_that_takes_too_long_is_code_4(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    ran = paceline("wait", "digits", "--timeout", "0.05")
    assert ran.code == 4
    assert "Running after 0.05 s" in ran.err


def test_wait_for_a_checkpoint(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running", checkpoint=CHECKPOINT))
    ran = paceline("wait", "digits", "--for", "checkpoint")
    assert ran.code == 0
    assert "has checkpoint 7" in ran.out


def test_logs_are_those_of_rank_0_s_pod(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running"))
    api.pods = [pod(0, 0, state=ENDED), pod(0, 1, state=ENDED)]
    api.logs = {"digits-0-0": b"[rank 0] a\n[rank 1] b\n", "digits-0-1": b"[rank 2] c\n[rank 3] d\n"}
    assert paceline("logs", "digits").out == "[rank 0] a\n[rank 1] b\n"
    assert paceline("logs", "digits", "--rank", "3").out == "[rank 3] d\n"
    assert paceline("logs", "digits", "--tail", "1").out == "[rank 1] b\n"
    assert "[digits-0-1] [rank 2] c\n" in paceline("logs", "digits", "--all").out


def test_logs_follow_over_a_restart_to_the_end(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Running", attempt=0))
    api.pods = [pod(0, 0, state=ENDED)]
    api.logs = {"digits-0-0": b"first\n", "digits-1-0": b"second\n"}
    original = api.answer

    def answer(method: str, url: str, body: bytes) -> Any:
        answered = original(method, url, body)
        if "digits-0-0/log" in url:
            api.pods = [pod(0, 0, state=ENDED), pod(1, 0, state=ENDED)]
            api.put(job_body(phase="Succeeded", attempt=1))
        return answered

    api.answer = answer  # type: ignore[method-assign]
    ran = paceline("logs", "digits", "-f")
    assert ran.code == 0
    assert ran.out == "first\nsecond\n"
    assert "digits Succeeded" in ran.err


def test_logs_of_a_job_without_pods_say_why(api: KubeApi, paceline: Paceline) -> None:
    api.put(job_body(phase="Succeeded"))
    ran = paceline("logs", "digits")
    assert ran.code == 3
    assert "cleanPodPolicy" in ran.err


@pytest.mark.parametrize("args", [["--rank", "4"], ["--rank", "-1"], ["--attempt", "2"]])
def test_logs_of_what_is_not_there_are_refused(api: KubeApi, paceline: Paceline, args: list[str]) -> None:
    api.put(job_body(phase="Running"))
    assert paceline("logs", "digits", *args).code == 2
