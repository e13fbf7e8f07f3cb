"""A real Google Cloud Storage API (fake-gcs-server) on a directory: inside a bed, or alone on 127.0.0.1."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from e2e.cluster import build
from e2e.cluster.components import FAKE_GCS
from e2e.cluster.processes import BedProcess
from e2e.cluster.stores import StorageServer, answers_http, free_port

PROJECT = "paceline-test"
PORT = 4443

Backend = Literal["filesystem", "memory"]


class GcsServer(StorageServer):
    """One GCS endpoint. It enforces generation matches and declared checksums, and knows which buckets exist.

    Not enforced: credentials. Not usable: resuming an upload after a broken connection (a status query damages the
    object), and uploads in parts that span a restart. Objects are buffered whole: keep them below 64 MiB.
    With the backend `filesystem` an object whose name ends in a slash becomes a directory, which no listing shows; with
    `memory` it is an object like any other, and nothing outlives a restart.
    """

    def __init__(
        self, process: BedProcess, folder: Path, address: str, port: int, *, backend: Backend = "filesystem"
    ) -> None:
        super().__init__(process, folder, address)
        self.endpoint = f"http://{address}:{port}"
        self.project = PROJECT
        self._port = port
        self._backend = backend

    @classmethod
    def start_local(cls, folder: Path, port: int = 0, *, backend: Backend = "filesystem") -> GcsServer:
        """Start one on 127.0.0.1 without any cluster, with its data, log and record below `folder`.

        Needs Go for the first build only, no root and no bed. `port` 0 takes a free one.
        """
        build.ensure(FAKE_GCS)
        folder = folder.resolve()
        process = BedProcess(f"gcs-{folder.name}", "gcs", folder)
        server = cls(process, folder / "data", "127.0.0.1", port or free_port(), backend=backend)
        server.start()
        return server

    def command(self) -> tuple[Sequence[str], dict[str, str]]:
        """Its command line."""
        authority = f"{self.address}:{self._port}"
        options = {
            "scheme": "http",
            "host": self.address,
            "port": str(self._port),
            "public-host": authority,
            "external-url": self.endpoint,
            "backend": self._backend,
            "filesystem-root": str(self.folder),
            "log-level": "warn",
        }
        return [build.program(FAKE_GCS), *(f"-{name}={value}" for name, value in options.items())], {}

    def answers(self) -> bool:
        """Whether it serves requests."""
        return answers_http(f"{self.endpoint}/_internal/healthcheck")

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which gcsfs, google-cloud-storage and pyarrow find this server."""
        return {
            "STORAGE_EMULATOR_HOST": self.endpoint,
            # Google's C++ client, which pyarrow has inside, reads another name.
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.endpoint,
            "GOOGLE_CLOUD_PROJECT": self.project,
            # gcsfs asks for a bucket's layout by gRPC first, and waits a minute for an emulator that has none.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def make_bucket(self, name: str) -> str:
        """Create a bucket; one that exists already is fine. Returns its `gs://` URI."""
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project={self.project}",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
        return f"gs://{name}"
