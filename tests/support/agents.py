"""Real agents with real processes on loopback: what a pod would run, without a pod."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.cluster.stores import free_port
from tests.support.timeouts import AGENT_RUN_S, LOCAL_S

SDK = Path(__file__).resolve().parents[2] / "sdk"


def wait_for(what: Callable[[], Any], timeout_s: float = AGENT_RUN_S) -> Any:
    """Poll until `what` gives something true, and return that."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Pod:
    """One agent."""

    def __init__(self, process: subprocess.Popen[str], port: int, termination_log: Path, log: Path) -> None:
        self.process = process
        self.port = port
        self._termination_log = termination_log
        self._log = log

    def wait(self, timeout_s: float = AGENT_RUN_S) -> int:
        """Exit code of the agent."""
        return self.process.wait(timeout_s)

    def terminate(self) -> None:
        """As the kubelet does."""
        self.process.send_signal(signal.SIGTERM)

    @property
    def message(self) -> dict[str, Any]:
        """The termination message."""
        found: dict[str, Any] = json.loads(self._termination_log.read_bytes())
        return found

    @property
    def log(self) -> str:
        """stdout and stderr so far."""
        return self._log.read_text()

    def status(self) -> dict[str, Any] | None:
        """`/status`, or None while nothing answers."""
        try:
            return dict(json.loads(self.get("/status")))
        except OSError:
            return None

    def get(self, path: str) -> str:
        """Body of a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=LOCAL_S) as answer:
            return str(answer.read().decode())

    def worker_pids(self) -> list[int]:
        """Processes that the agent started."""
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                pids.append(int(stat.parent.name))
        return sorted(pids)


class Job:
    """A job of one or more pods, below one directory. Attempts follow each other with `attempt=`."""

    def __init__(self, directory: Path, *, workers: int = 1, per_pod: int | None = None, **env: str) -> None:
        self.directory = directory
        self.storage = directory / "storage"
        self.workers = workers
        self.per_pod = per_pod or workers
        self.port = free_port()
        self._env = {"PACELINE_STORAGE_PATH": str(self.storage), **env}
        self._pods: list[Pod] = []

    @property
    def run(self) -> Path:
        """The run directory, when the storage path is a local one."""
        return self.storage / "job"

    def script(self, text: str, name: str = "train.py") -> list[str]:
        """A training script; returns the command."""
        path = self.directory / name
        path.write_text(textwrap.dedent(text))
        return [sys.executable, str(path)]

    def start(self, command: list[str], *, attempt: int = 0, pod: int = 0, **env: Any) -> Pod:
        """Start the agent of one pod."""
        name = f"{attempt}-{pod}"
        port = self.port if pod == 0 else free_port()
        log, termination_log = self.directory / f"log-{name}", self.directory / f"termination-{name}"
        full = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PACELINE_", "AWS_"))},
            "PYTHONPATH": str(SDK),
            "RANK": str(pod * self.per_pod),
            "WORLD_SIZE": str(self.workers),
            "LOCAL_WORLD_SIZE": str(self.per_pod),
            "NODE_RANK": str(pod),
            "PACELINE_JOB": "job",
            "PACELINE_RUN_ID": "run-1",
            "PACELINE_ATTEMPT": str(attempt),
            "PACELINE_LEAD": f"127.0.0.1:{self.port}",
            "PACELINE_AGENT_HOST": "127.0.0.1",
            "PACELINE_AGENT_PORT": str(port),
            "PACELINE_AGENT_DIR": str(self.directory / f"agent-{name}"),
            "PACELINE_TERMINATION_LOG": str(termination_log),
            "PACELINE_GRACE_SECONDS": "10",
            "OMP_NUM_THREADS": "1",
            **self._env,
            **env,
        }
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "paceline.agent.main", "--", *command],
                env=full,
                cwd=self.directory,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started = Pod(process, port, termination_log, log)
        self._pods.append(started)
        return started

    def train(self, script: str, *, attempt: int = 0, **env: str) -> Pod:
        """Run one attempt of all pods to its end; returns the lead's pod."""
        command = self.script(script)
        pods = [self.start(command, attempt=attempt, pod=i, **env) for i in range(self.workers // self.per_pod)]
        for pod in pods:
            pod.wait()
        return pods[0]

    def results(self) -> list[dict[str, Any]]:
        """Lines of result.json in storage."""
        return [json.loads(line) for line in (self.run / "result.json").read_text().splitlines()]

    def commits(self) -> dict[int, Mapping[str, Any]]:
        """Committed checkpoints in storage, by index."""
        found = (json.loads(path.read_text()) for path in self.run.glob("*/.paceline.json"))
        return {commit["index"]: commit for commit in sorted(found, key=lambda commit: int(commit["index"]))}

    def close(self) -> None:
        """End what still runs."""
        for pod in self._pods:
            if pod.process.poll() is None:
                for pid in pod.worker_pids():
                    os.kill(pid, signal.SIGKILL)
                pod.process.kill()
                pod.process.wait()


@contextmanager
def job(directory: Path, **options: Any) -> Iterator[Job]:
    """A job whose agents are gone at the end."""
    made = Job(directory, **options)
    try:
        yield made
    finally:
        made.close()
