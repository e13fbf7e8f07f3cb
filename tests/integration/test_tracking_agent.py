"""The agent and trackers: the look at their keys against servers of our own, and what workers tell of their runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from paceline import _contract as c
from paceline.tracking import _asking, preflight
from paceline.train import Result
from tests.support.agents import Job, job, wait_for

KEY = "canary" * 8


class Tracker:
    """Answers every request in the way that the path's first part says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] = (200, "{}")
        self.asked: list[tuple[str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                outer.asked.append((self.command, self.path, self.headers.get("Authorization") or ""))
                status, body = outer.answer
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{outer.port}/elsewhere")
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Tracker]:
    made = Tracker()
    yield made
    made.close()


@pytest.fixture
def tracker(servers: Tracker) -> Tracker:
    servers.answer, servers.asked = (200, "{}"), []
    return servers


def environ(tracker: Tracker, tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "WANDB_BASE_URL": tracker.url,
        "WANDB_API_KEY": KEY,
        "MLFLOW_TRACKING_URI": tracker.url,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": KEY,
        "COMET_URL_OVERRIDE": f"{tracker.url}/clientlib/",
        "COMET_API_KEY": KEY,
    }


@pytest.mark.parametrize("kind", ["wandb", "mlflow", "comet"])
def test_a_server_is_asked_once_with_the_key(kind: str, tracker: Tracker, tmp_path: Path) -> None:
    assert _asking.problem(kind, {}, environ(tracker, tmp_path)) is None
    ((method, path, authorization),) = tracker.asked
    assert (method, path.partition("?")[0]) == {
        "wandb": ("POST", "/graphql"),
        "mlflow": ("GET", "/api/2.0/mlflow/experiments/search"),
        "comet": ("GET", "/api/rest/v2/workspaces"),
    }[kind]
    assert authorization


@pytest.mark.parametrize(
    ("kind", "answer", "reason", "said"),
    [
        (
            "wandb",
            (401, json.dumps({"error": f"key {KEY} is not known"})),
            "MissingCredentials",
            "key *** is not known",
        ),
        ("wandb", (200, json.dumps({"data": {"viewer": None}})), "MissingCredentials", "does not know the API key"),
        ("mlflow", (403, "You are not authenticated."), "MissingCredentials", "You are not authenticated"),
        ("comet", (401, json.dumps({"msg": "API key missing"})), "MissingCredentials", "COMET_API_KEY"),
        ("mlflow", (403, "<html>proxy</html>"), "MissingCredentials", "a page of HTML"),
        ("mlflow", (503, "busy"), "Unreachable", "it answered 503"),
        ("mlflow", (403, "Invalid Host header - possible attack"), "Unreachable", "with --allowed-hosts"),
    ],
)
def test_a_refusal_is_told_with_the_servers_words_and_without_the_key(
    kind: str, answer: tuple[int, str], reason: str, said: str, tracker: Tracker, tmp_path: Path
) -> None:
    tracker.answer = answer
    found = _asking.problem(kind, {}, environ(tracker, tmp_path))
    assert found is not None
    assert (found.kind, found.reason) == (kind, reason)
    assert said in found.message
    assert KEY not in found.message


@pytest.mark.parametrize("answer", [(404, "no such page"), (302, "")])
def test_another_answer_is_no_reason_to_stop_and_no_key_follows_a_redirection(
    answer: tuple[int, str], tracker: Tracker, tmp_path: Path
) -> None:
    tracker.answer = answer
    assert _asking.problem("mlflow", {}, environ(tracker, tmp_path)) is None
    assert len(tracker.asked) == 1


def test_a_server_that_is_not_there_is_a_warning(tracker: Tracker, tmp_path: Path) -> None:
    env = {**environ(tracker, tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    found = _asking.problem("wandb", {}, env)
    assert found is not None
    assert found.reason == "Unreachable"
    assert "http://127.0.0.1:9" in found.message
    assert "training goes on" in found.message


def test_all_trackers_are_looked_at_and_what_ends_the_run_comes_first(tracker: Tracker, tmp_path: Path) -> None:
    tracker.answer = (401, "who are you")
    env = {**environ(tracker, tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    found = preflight.problems({**env, c.TRACKING: json.dumps({"wandb": {}, "comet": {}, "mlflow": {}})})
    assert [problem.reason for problem in found[:2]] == ["MissingCredentials"] * 2
    assert "Unreachable" in [problem.reason for problem in found]
    assert preflight.problems({**env, c.TRACKING: json.dumps({"wandb": {}, "preflight": False})}) == []
    (broken,) = preflight.problems({**env, c.TRACKING: "{"})
    assert not broken.is_fatal


SCRIPT = """
import json, os
from paceline import train
from paceline.tracking import _telling
print("started", flush=True)
_telling.problem("wandb", "Unreachable", "no answer")
_telling.run("mlflow", "abc", url="https://me:secret@host/#/experiments/0/runs/abc?x=1")
train.report({"loss": 1.0})
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path) as made:
        yield made


def test_a_missing_key_ends_the_run_before_any_worker_starts(one: Job, tmp_path: Path) -> None:
    env: dict[str, Any] = {"HOME": str(tmp_path), c.TRACKING: json.dumps({"wandb": {"project": "digits"}})}
    pod = one.train(SCRIPT, **env)
    assert pod.process.returncode == 64, pod.log
    assert "started" not in pod.log
    failure = pod.message["failure"]
    assert failure["reason"] == "MissingCredentials"
    assert "No API key configured" in failure["message"]
    assert "WANDB_API_KEY" in failure["message"]


def test_what_rank_0_tells_is_in_the_status_the_last_word_and_the_result(
    one: Job, tracker: Tracker, tmp_path: Path
) -> None:
    tracker.answer = (503, "")
    env: dict[str, Any] = {**environ(tracker, tmp_path), c.TRACKING: json.dumps({"mlflow": {}})}
    # No library is there: what is reported cannot be logged, and training goes on.
    pod = one.start(one.script(SCRIPT + "import time\ntime.sleep(60)"), **env)
    status = wait_for(lambda: (told := pod.status()) and told["tracking"] and told)
    run = {"kind": "mlflow", "runId": "abc", "url": "https://host/#/experiments/0/runs/abc"}
    assert status["tracking"] == [run]
    pod.terminate()
    pod.wait()
    assert pod.message["tracking"] == [run]
    assert Result.from_path(one.run).tracking == [run]
    assert "warning: MLflow cannot be reached" in pod.log
    assert KEY not in pod.log


def test_the_look_can_be_left_out(one: Job, tmp_path: Path) -> None:
    env: dict[str, Any] = {
        "HOME": str(tmp_path),
        c.TRACKING: json.dumps({"wandb": {}}),
        c.TRACKING_PREFLIGHT: "off",
    }
    pod = one.train(SCRIPT, **env)
    assert pod.process.returncode == 0, pod.log
    assert "reports are not logged to Weights & Biases: " in pod.log
    assert [line["loss"] for line in one.results()] == [1.0]
