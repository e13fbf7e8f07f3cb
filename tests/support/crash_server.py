"""An S3 server of one slot, which its cases may kill: it is started again at once, on the same data and port."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

from e2e.cluster import build
from e2e.cluster.components import VERSITYGW
from tests.support.timeouts import LOCAL_S

ACCESS_KEY, SECRET_KEY = "crash", "crash-secret-key"


class Server:
    """A child of this process, so that its death is seen without asking it."""

    def __init__(self, directory: Path, port: int) -> None:
        build.ensure(VERSITYGW)
        self.directory = directory
        self.port = port
        self._log = directory.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running one."""
        assert self._process is not None
        return self._process.pid

    def keep(self) -> None:
        """Start it where it does not run; returns at once."""
        if self._process is not None and self._process.poll() is None:
            return
        self.directory.mkdir(exist_ok=True)
        command = [build.program(VERSITYGW), "--port", f"127.0.0.1:{self.port}", "--region", "us-east-1"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--quiet", "posix", str(self.directory)],
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers.

        Raises:
            AssertionError: It does not.
        """
        end = time.monotonic() + LOCAL_S
        while not self._listens():
            if time.monotonic() > end:
                raise AssertionError(f"the S3 server does not start: see {self._log}")
            self.keep()
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
