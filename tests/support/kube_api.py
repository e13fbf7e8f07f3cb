"""A small API server for tests of clients: it holds objects, answers as Kubernetes does, and fails when told."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]
JOBS = "/apis/paceline.dev/v1alpha1"


class KubeApi:
    """What the server holds. Change it while a client looks."""

    def __init__(self, *, crd: bool = True) -> None:
        self.crd = crd
        self.jobs: dict[tuple[str, str], Object] = {}
        self.pods: list[Object] = []
        self.events: list[Object] = []
        self.logs: dict[str, bytes] = {}
        self.config_maps: dict[str, Object] = {}
        self.watch_events: deque[Object] = deque()
        self.requests: list[tuple[str, str]] = []
        self.sent: list[Object] = []
        self._failures: deque[tuple[int, str, str]] = deque()
        self.server = ""

    def fail_next(self, status: int, reason: str, message: str) -> None:
        """Answer the next request so."""
        self._failures.append((status, reason, message))

    def put(self, body: Object, *, namespace: str = "default") -> None:
        """Hold a TrainJob."""
        seen = {"namespace": namespace, "resourceVersion": "7", "uid": "u", "generation": 1}
        body = {**body, "metadata": {"creationTimestamp": "2026-01-02T03:04:05Z", **body["metadata"]}}
        body["metadata"] = {**seen, **body["metadata"], "namespace": namespace}
        self.jobs[(namespace, body["metadata"]["name"])] = body

    def kubeconfig(self, directory: Path, *, namespace: str | None = None) -> Path:
        """Write a kubeconfig that leads here."""
        context = {"cluster": "c", "user": "u"} | ({"namespace": namespace} if namespace else {})
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": self.server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "here", "context": context}],
        }  # fmt: skip
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        parts = urlsplit(url)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.requests.append((method, url))
        if self._failures:
            status, reason, message = self._failures.popleft()
            return _status(status, reason, message)
        if parts.path.startswith(JOBS):
            if not self.crd:
                return 404, "text/plain", b"404 page not found\n"
            return self._jobs(method, parts.path.removeprefix(JOBS).strip("/").split("/"), query, body)
        place = parts.path.split("/")
        if place[-1] == "log":
            return 200, "text/plain", self._log(place[-2], query)
        if "configmaps" in place:
            return self._config_maps(method, place[-1], query, body)
        kind = place[-1]
        return _json({"pods": {"items": self.pods}, "events": {"items": self.events}}[kind])

    def _config_maps(self, method: str, name: str, query: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if method == "DELETE":
            held = self.config_maps.pop(name, None)
            return _json(held) if held else _status(404, "NotFound", f'configmaps "{name}" not found')
        sent = json.loads(body)
        name = sent["metadata"]["name"]
        if name in self.config_maps:
            return _status(409, "AlreadyExists", f'configmaps "{name}" already exists')
        if not query.get("dryRun"):
            self.config_maps[name] = sent
        return _json(sent)

    def _log(self, pod: str, query: dict[str, str]) -> bytes:
        lines = self.logs[pod].splitlines(keepends=True)
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        if query.get("timestamps"):
            lines = [f"2026-01-02T03:04:{n:02}Z ".encode() + line for n, line in enumerate(lines)]
        return b"".join(lines)

    def _jobs(self, method: str, place: list[str], query: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        namespace = place[1] if place[0] == "namespaces" else ""
        name = place[3] if len(place) > 3 else ""
        if query.get("watch"):
            events = [json.dumps(self.watch_events.popleft()) for _ in range(len(self.watch_events))]
            return 200, "application/json", "".join(f"{event}\n" for event in events).encode()
        if method == "POST":
            return self._created(namespace, json.loads(body), dry_run="dryRun" in query)
        if not name:
            found = [job for (where, _), job in self.jobs.items() if namespace in ("", where)]
            return _json({"kind": "TrainJobList", "metadata": {"resourceVersion": "9"}, "items": found})
        held = self.jobs.get((namespace, name))
        if method == "PATCH":
            self.sent.append(json.loads(body))
            return _json(held or {**json.loads(body), "metadata": {"name": name, "generation": 1}})
        if held is None:
            return _status(404, "NotFound", f'trainjobs.paceline.dev "{name}" not found')
        if method == "DELETE":
            del self.jobs[(namespace, name)]
        return _json(held)

    def _created(self, namespace: str, body: Object, *, dry_run: bool) -> tuple[int, str, bytes]:
        name = body["metadata"]["name"]
        if (namespace, name) in self.jobs:
            return _status(409, "AlreadyExists", f'trainjobs.paceline.dev "{name}" already exists')
        self.put(body, namespace=namespace)
        made = self.jobs[(namespace, name)]
        if dry_run:
            del self.jobs[(namespace, name)]
        else:
            self.sent.append(body)
        return _json(made)


@contextmanager
def serving(api: KubeApi) -> Iterator[KubeApi]:
    """Serve it on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            assert self.headers["Authorization"].endswith(" t")
            status, kind, body = api.answer(self.command, self.path, self.rfile.read(length))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.server = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _json(value: Any) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(value).encode()


def _status(status: int, reason: str, message: str) -> tuple[int, str, bytes]:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return status, "application/json", json.dumps({**body, "code": status}).encode()
