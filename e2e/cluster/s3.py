"""A real S3 server (versitygw) on a directory: inside a bed, or alone on 127.0.0.1."""

from __future__ import annotations

import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from e2e.cluster import build
from e2e.cluster.components import VERSITYGW
from e2e.cluster.processes import BedProcess

ACCESS_KEY = "paceline-test"
SECRET_KEY = "paceline-test-secret"
REGION = "us-east-1"
PORT = 9000


class S3Server:
    """One S3 endpoint with one root user. It enforces keys, signatures, conditional writes and checksums.

    Data survives `stop`, `kill` and `restart`. A standalone server is ended by leaving its `with` block, or by `stop`.
    """

    def __init__(self, process: BedProcess, folder: Path, address: str, port: int) -> None:
        self.process = process
        self.folder = folder
        self.endpoint = f"http://{address}:{port}"
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self.region = REGION
        self._listen = f"{address}:{port}"
        process.ready = self.answers

    @classmethod
    def start_local(cls, folder: Path, port: int = 0) -> S3Server:
        """Start one on 127.0.0.1 without any cluster, with its data, log and record below `folder`.

        Needs Go for the first build only, no root and no bed. `port` 0 takes a free one.
        """
        build.ensure(VERSITYGW)
        folder = folder.resolve()
        name = f"s3-{folder.name}"
        server = cls(BedProcess(name, "s3", folder), folder / "data", "127.0.0.1", port or _free_port())
        server.start()
        return server

    def start(self) -> None:
        """Start it (again) on the same port and data."""
        if self.process.pid is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [build.program(VERSITYGW), "--port", self._listen, "--region", self.region, "--quiet"]
        self.process.start(
            [*command, "--health", "/health", "posix", str(self.folder)],
            {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
        )
        self.process.wait_ready()

    def stop(self) -> None:
        """End it. The data stays."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Crash it and start it again."""
        self.kill()
        self.start()

    def answers(self) -> bool:
        """Whether it serves requests."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which boto3, s3fs and the AWS command line find this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }

    def client(self) -> Any:
        """A boto3 client for this server."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self, name: str) -> str:
        """Create a bucket; one that exists already is fine. Returns its `s3://` URI."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            pass
        return f"s3://{name}"

    def remove(self) -> None:
        """End it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> S3Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
