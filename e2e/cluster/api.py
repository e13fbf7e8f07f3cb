"""The few direct calls that the bed itself makes to its API server, without a kubectl process for each."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any

import urllib3
import yaml

# From several threads at once; more connections than that are closed after their call.
KEPT = 8


class ApiError(Exception):
    """The API server refused; `.status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """A minimal client with the administrator's certificate. It may be used by several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"].rstrip("/")
        context = ssl.create_default_context(cadata=_decode(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(_decode(user["client-certificate-data"]) + _decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
        # A handshake costs both sides more than the request: tests that wait ask four times a second.
        self._pool = urllib3.PoolManager(maxsize=KEPT, ssl_context=context, timeout=10.0, retries=False)

    def call(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """One request; returns the decoded answer.

        Raises:
            ApiError: The API server refused.
            ConnectionError: It did not answer.
        """
        answer = self.request(method, path, body, content_type=content_type)
        text = answer.data.decode()
        if answer.status >= 400:
            raise ApiError(answer.status, text[:400])
        return json.loads(text) if text.startswith(("{", "[")) else text

    def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> urllib3.BaseHTTPResponse:
        """One request; returns the answer, a refusal too. Raises ConnectionError where there is none."""
        data = None if body is None else json.dumps(body)
        try:
            return self._pool.request(method, self._server + path, body=data, headers={"Content-Type": content_type})
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"{method} {path}: {error}") from error

    def ready(self) -> bool:
        """Whether the API server serves, with all its start hooks done."""
        try:
            return bool(self.call("GET", "/readyz") == "ok")
        except (ApiError, ConnectionError):
            return False


def _decode(data: str) -> str:
    return base64.b64decode(data).decode()
