"""Helm, for all that install or render the chart: the pinned binary of the test bed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from e2e.cluster.binaries import binary
from e2e.cluster.errors import BedError


class HelmError(BedError):
    """Helm refused; the message is its own."""


def helm(
    *args: str | Path, kubeconfig: Path | None = None, stdin: str | None = None, timeout_s: float | None = None
) -> str:
    """Run helm and return what it printed. It is built at the first use.

    Raises:
        HelmError: It exited with another code than 0.
        subprocess.TimeoutExpired: It took more than `timeout_s` seconds.
    """
    env = os.environ | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    command = [str(binary("helm")), *map(str, args)]
    done = subprocess.run(command, env=env, input=stdin, text=True, capture_output=True, check=False, timeout=timeout_s)
    if done.returncode != 0:
        raise HelmError(f"helm {args[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
