"""The operator as a process of this machine, with the rights that the chart gives it and no others."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.cluster import Bed
from tests.support.helm import NAMESPACE, ROOT

# From SIGTERM to the end: it releases its lease and posts the last events.
STOP_S = 25.0


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """A running operator."""

    port: int
    log: Path

    def refused(self) -> list[str]:
        """Return the metric lines of requests that the API server refused for want of a right."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return re.findall(r'^paceline_api_requests_total\{code="40[13]".*$', text, re.MULTILINE)


@contextmanager
def operator_with_the_charts_rights(bed: Bed, folder: Path) -> Iterator[OperatorProcess]:
    """Run the operator with the ConfigMap and the ServiceAccount of the release in `paceline-system`."""
    text = bed.kubectl("-n", NAMESPACE, "get", "configmap", "paceline-operator", "-o", r"jsonpath={.data.config\.yaml}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(text) | {"httpPort": port}))
    environment = os.environ | {
        "KUBECONFIG": str(_kubeconfig(bed, folder)),
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "paceline-operator-0",
        "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'sdk'}",
    }
    log = folder / "operator.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "paceline_operator.main", "--config", str(config)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield OperatorProcess(port, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _kubeconfig(bed: Bed, folder: Path) -> Path:
    config = yaml.safe_load(bed.kubeconfig.read_text())
    token = bed.kubectl("-n", NAMESPACE, "create", "token", "paceline-operator", "--duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path
