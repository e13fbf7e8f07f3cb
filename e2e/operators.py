"""The operator as a process of this machine: the real command, killed and started as tests and benchmarks want."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.stores import free_port

ROOT = Path(__file__).resolve().parents[1]
# Imports take a second alone, several on busy cores.
READY_S = 40.0
STOP_S = 30.0


@dataclass(slots=True)
class OperatorProcess:
    """One running operator."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def kill(self) -> None:
        """Let it die at once."""
        self.process.kill()
        self.process.wait(timeout=STOP_S)

    def stop(self) -> int:
        """Stop it as Kubernetes does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_S)

    def page(self, path: str) -> str:
        """Return a page of its HTTP server."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def refused(self) -> list[str]:
        """Return the metric lines of requests that the API server refused for want of a right."""
        refusal = r'^paceline_api_requests_total\{code="40[13]".*$'
        return re.findall(refusal, self.page("/metrics"), re.MULTILINE)


@contextlib.contextmanager
def operator(
    kubeconfig: Path, folder: Path, name: str = "operator", namespace: str = "default", **config: Any
) -> Iterator[OperatorProcess]:
    """Run the operator while the block runs; it is ready when the block begins."""
    port = free_port()
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"agentImage": "paceline/operator:test", **config, "httpPort": port}))
    log = folder / f"{name}.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "paceline_operator.main", "--config", str(path), "--kubeconfig", str(kubeconfig)],
            env=os.environ
            | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'sdk'}", "POD_NAME": name, "POD_NAMESPACE": namespace},
            stdout=sink,
            stderr=sink,
        )
    running = OperatorProcess(process, port, log)
    try:
        _await_ready(running)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=STOP_S)


def _await_ready(running: OperatorProcess) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise AssertionError(f"the operator ended: {running.log.read_text()[-2000:]}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            running.page("/readyz")
            return
        time.sleep(0.1)
    raise AssertionError(f"the operator is not ready after {READY_S} s: {running.log.read_text()[-2000:]}")
