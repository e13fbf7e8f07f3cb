"""The bare script's side: parallel requests to an API server, nothing else."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml

PARALLEL = 32
"""Requests under way at once; on 2 cores 16, 32 and 64 came out alike."""


class ApiClient:
    """A session to the API server of a kubeconfig with client certificates, under a user agent of its own."""

    def __init__(self, kubeconfig: Path, user_agent: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"].rstrip("/")
        self._tls = _tls(cluster, user)
        self._user_agent = user_agent

    async def __aenter__(self) -> ApiClient:
        """Open the session."""
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=PARALLEL)
        self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": self._user_agent})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._session.close()

    async def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Send one request.

        Raises:
            RuntimeError: The answer was neither a success nor "not found" to a delete.
        """
        async with self._session.request(
            method, self._server + path, json=body, headers={"Content-Type": content_type}
        ) as response:
            if response.status >= 400 and not (method == "DELETE" and response.status == 404):
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json()

    async def send_all(self, requests: Iterable[tuple[str, str, Any]], content_type: str = "application/json") -> None:
        """Send all of them, `PARALLEL` at a time."""
        waiting = iter(list(requests))

        async def work() -> None:
            for method, path, body in waiting:
                await self.send(method, path, body, content_type)

        await asyncio.gather(*(work() for _ in range(PARALLEL)))


def _tls(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as folder:
        ca = _file(cluster, "certificate-authority", Path(folder))
        certificate = _file(user, "client-certificate", Path(folder))
        key = _file(user, "client-key", Path(folder))
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
    return context


def _file(entry: dict[str, Any], key: str, folder: Path) -> Path:
    if key in entry:
        return Path(entry[key])
    path = folder / key
    path.write_bytes(b64decode(entry[f"{key}-data"]))
    return path
