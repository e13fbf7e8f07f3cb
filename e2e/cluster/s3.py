"""A real S3 server (versitygw) on a directory: inside a bed, or alone on 127.0.0.1."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.cluster import build
from e2e.cluster.components import VERSITYGW
from e2e.cluster.processes import BedProcess
from e2e.cluster.stores import StorageServer, answers_http, free_port

ACCESS_KEY = "paceline-test"
SECRET_KEY = "paceline-test-secret"
REGION = "us-east-1"
PORT = 9000


class S3Server(StorageServer):
    """One S3 endpoint with one root user. It enforces keys, signatures, conditional writes and checksums."""

    def __init__(self, process: BedProcess, folder: Path, address: str, port: int) -> None:
        super().__init__(process, folder, address)
        self.endpoint = f"http://{address}:{port}"
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self.region = REGION
        self._listen = f"{address}:{port}"

    @classmethod
    def start_local(cls, folder: Path, port: int = 0) -> S3Server:
        """Start one on 127.0.0.1 without any cluster, with its data, log and record below `folder`.

        Needs Go for the first build only, no root and no bed. `port` 0 takes a free one.
        """
        build.ensure(VERSITYGW)
        folder = folder.resolve()
        name = f"s3-{folder.name}"
        server = cls(BedProcess(name, "s3", folder), folder / "data", "127.0.0.1", port or free_port())
        server.start()
        return server

    def command(self) -> tuple[Sequence[str], dict[str, str]]:
        """Its command line, and its keys as variables."""
        command = [build.program(VERSITYGW), "--port", self._listen, "--region", self.region, "--quiet"]
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        return [*command, "--health", "/health", "posix", str(self.folder)], keys

    def answers(self) -> bool:
        """Whether it serves requests."""
        return answers_http(f"{self.endpoint}/health")

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
        """A boto3 client for this server, the same one each time."""
        return _client(self.endpoint, self.access_key, self.secret_key, self.region)

    def make_bucket(self, name: str) -> str:
        """Create a bucket; one that exists already is fine. Returns its `s3://` URI."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            pass
        return f"s3://{name}"


@functools.cache
def _client(endpoint: str, access_key: str, secret_key: str, region: str) -> Any:
    import boto3
    from botocore.config import Config

    # A client takes longer to make than fifty objects to read. Several threads may use one, but not one session.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(s3={"addressing_style": "path"}),
    )


# A forked child must not speak on its parent's connections.
os.register_at_fork(after_in_child=_client.cache_clear)
