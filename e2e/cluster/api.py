"""The few direct calls that the bed itself makes to its API server, without a kubectl process for each."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class ApiError(Exception):
    """The API server refused; `.status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """A minimal client with the administrator's certificate. One connection for each call."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host = urlsplit(cluster["server"]).netloc
        self._context = ssl.create_default_context(cadata=_decode(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(_decode(user["client-certificate-data"]) + _decode(user["client-key-data"]))
            pem.flush()
            self._context.load_cert_chain(pem.name)

    def connect(self, timeout_s: float = 10.0) -> http.client.HTTPSConnection:
        """A connection for several calls."""
        return http.client.HTTPSConnection(self._host, context=self._context, timeout=timeout_s)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        connection: http.client.HTTPSConnection | None = None,
    ) -> Any:
        """One request; returns the decoded answer."""
        link = connection or self.connect()
        try:
            link.request(method, path, None if body is None else json.dumps(body), {"Content-Type": content_type})
            answer = link.getresponse()
            text = answer.read().decode()
        finally:
            if connection is None:
                link.close()
        if answer.status >= 400:
            raise ApiError(answer.status, text[:400])
        return json.loads(text) if text.startswith(("{", "[")) else text

    def ready(self) -> bool:
        """Whether the API server serves, with all its start hooks done."""
        try:
            return bool(self.call("GET", "/readyz") == "ok")
        except (OSError, ApiError, http.client.HTTPException):
            return False


def _decode(data: str) -> str:
    return base64.b64decode(data).decode()
