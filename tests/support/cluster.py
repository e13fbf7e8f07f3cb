"""A small API server in memory, to be driven by tests: versions, conflicts, watches that lag, kubelets, crashes.

It holds what the operator uses of Kubernetes and no more. Time is a value: nothing happens but by `tick()`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from paceline_operator.cluster.client import ApiError, UnreachableError
from tests.support.pods import T0

Body: TypeAlias = dict[str, Any]
Outcome: TypeAlias = str
"""What becomes of a pod that runs: `succeed`, `fail`, `delete`, or `run` for ever."""

_PATH = re.compile(
    r"^/(?:api/v1|apis/paceline\.dev/v1alpha1)/namespaces/(?P<namespace>[^/]+)/(?P<kind>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?P<status>/status)?$"
)
RUNS_FOR_TICKS = 3


class CrashError(BaseException):
    """The operator's process is dead: nothing in it may catch this."""


@dataclass
class Fault:
    """What goes wrong with the n-th write from now."""

    at_write: int
    kind: str
    """`crash` after it was carried out, `lost` reply, or `error` 500 before it was."""


@dataclass
class FakeCluster:
    """Objects by (kind, namespace, name)."""

    outcome: Callable[[int, int], Outcome] = lambda attempt, index: "succeed"
    objects: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    log: list[tuple[str, str, Body]] = field(default_factory=list)
    """All changes: kind, type of the watch event, object."""
    writes: list[str] = field(default_factory=list)
    """Requests that changed something, or tried to."""
    version: int = 0
    now: datetime = T0
    fault: Fault | None = None
    checks: list[Callable[[FakeCluster], None]] = field(default_factory=list)

    def session(self) -> Session:
        """Return the way in of one operator process."""
        return Session(self)

    def pods(self) -> list[Body]:
        return [body for (kind, _, _), body in self.objects.items() if kind == "pods"]

    def job(self, name: str = "digits", namespace: str = "ml") -> Body:
        return self.objects[("trainjobs", namespace, name)]

    def put(self, kind: str, body: Body) -> Body:
        """Write an object as anybody but the operator would."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        known = (kind, namespace, name) in self.objects
        self._store((kind, namespace, name), body, "MODIFIED" if known else "ADDED")
        return body

    def edit_job(self, **spec: Any) -> None:
        """Change the spec as a user would."""
        body = deepcopy(self.job())
        body["spec"].update(spec)
        body["metadata"]["generation"] += 1
        self.put("trainjobs", body)

    def delete_pod(self, name: str, namespace: str = "ml") -> None:
        """Delete a pod as a user would."""
        self._begin_deletion(("pods", namespace, name))

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass: kubelets start, end and remove pods."""
        self.now += timedelta(seconds=seconds)
        for key, pod in [(k, b) for k, b in self.objects.items() if k[0] == "pods"]:
            if "deletionTimestamp" in pod["metadata"]:
                self._remove(key)
            elif pod["status"]["phase"] == "Pending":
                self._status(key, {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": _state(running={})})
            elif pod["status"]["phase"] == "Running":
                self._go_on(key, pod)
        self._check()

    def _go_on(self, key: tuple[str, str, str], pod: Body) -> None:
        pod["ticks"] = pod.get("ticks", 0) + 1
        if pod["ticks"] < RUNS_FOR_TICKS:
            return
        labels = pod["metadata"]["labels"]
        outcome = self.outcome(int(labels["paceline.dev/attempt"]), int(labels["paceline.dev/index"]))
        if outcome == "delete":
            self._begin_deletion(key)
        elif outcome != "run":
            code = 0 if outcome == "succeed" else 1
            ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": _stamp(self.now)}
            phase = "Succeeded" if code == 0 else "Failed"
            self._status(key, {"phase": phase, "containerStatuses": _state(terminated=ended)})

    # --- requests --------------------------------------------------------------------------------

    def handle(self, method: str, path: str, body: Body | None) -> Body:
        match = _PATH.match(path)
        assert match, f"the operator asks for {path}, which this cluster does not have"
        key = (match["kind"], match["namespace"], match["name"] or (body or {}).get("metadata", {}).get("name", ""))
        if method == "GET":
            return self._get(key) if match["name"] else {"items": []}
        assert body is not None
        if method == "POST":
            return self._create(key, body)
        if method == "PATCH":
            return self._patch(key, body)
        assert method == "DELETE"
        return self._delete(key, body)

    def _get(self, key: tuple[str, str, str]) -> Body:
        if key not in self.objects:
            raise ApiError(404, "NotFound", f"{key[0]} {key[2]} not found")
        return deepcopy(self.objects[key])

    def _create(self, key: tuple[str, str, str], body: Body) -> Body:
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{key[0]} {key[2]} already exists")
        body = deepcopy(body)
        body["metadata"]["creationTimestamp"] = _stamp(self.now)
        if key[0] == "pods":
            body["status"] = {"phase": "Pending"}
            body["spec"]["nodeName"] = "node-1"
        return deepcopy(self._store(key, body, "ADDED"))

    def _patch(self, key: tuple[str, str, str], patch: Body) -> Body:
        body = self._get(key)
        wanted = patch.get("metadata", {})
        if wanted.get("resourceVersion", body["metadata"]["resourceVersion"]) != body["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        if wanted.get("uid", body["metadata"]["uid"]) != body["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the uid differs")
        body["status"] = _merge(body.get("status") or {}, patch["status"])
        return deepcopy(self._store(key, body, "MODIFIED"))

    def _delete(self, key: tuple[str, str, str], options: Body) -> Body:
        body = self._get(key)
        if options.get("preconditions", {}).get("uid", body["metadata"]["uid"]) != body["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the uid differs")
        if key[0] == "pods":
            self._begin_deletion(key)
        else:
            self._remove(key)
        return {}

    # --- objects ---------------------------------------------------------------------------------

    def _store(self, key: tuple[str, str, str], body: Body, type: str) -> Body:
        self.version += 1
        body["metadata"].setdefault("uid", f"uid-{key[2]}-{self.version}")
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = body
        self.log.append((key[0], type, deepcopy(body)))
        return body

    def _status(self, key: tuple[str, str, str], status: Body) -> None:
        body = self.objects[key]
        self._store(key, {**body, "status": {**body["status"], **status}}, "MODIFIED")

    def _begin_deletion(self, key: tuple[str, str, str]) -> None:
        body = deepcopy(self.objects[key])
        if body["status"]["phase"] in ("Succeeded", "Failed"):
            self._remove(key)
        elif "deletionTimestamp" not in body["metadata"]:
            body["metadata"]["deletionTimestamp"] = _stamp(self.now)
            self._store(key, body, "MODIFIED")

    def _remove(self, key: tuple[str, str, str]) -> None:
        self.version += 1
        body = self.objects.pop(key)
        body["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((key[0], "DELETED", deepcopy(body)))
        if key[0] == "trainjobs":
            owned = [k for k, b in self.objects.items() if body["metadata"]["uid"] in _owners(b)]
            for child in owned:
                self._remove(child)

    def _check(self) -> None:
        for check in self.checks:
            check(self)


class Session:
    """What one operator process sees. After a crash no request of it reaches the cluster."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.dead = False

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "",
        timeout_s: float | None = None,
    ) -> bytes:
        await asyncio.sleep(0)
        if self.dead:
            raise CrashError
        cluster, kind = self._cluster, ""
        if method != "GET":
            cluster.writes.append(f"{method} {path}")
            if cluster.fault is not None:
                cluster.fault.at_write -= 1
                if cluster.fault.at_write == 0:
                    kind, cluster.fault = cluster.fault.kind, None
        if kind == "error":
            raise ApiError(500, "InternalError", "etcd has no leader")
        answer = cluster.handle(method, path, json.loads(body) if body else None)
        cluster._check()
        if kind == "crash":
            self.dead = True
            raise CrashError
        if kind == "lost":
            raise UnreachableError(f"{method} {path}: connection reset")
        return json.dumps(answer).encode()


def _state(**state: Any) -> list[Body]:
    return [{"name": "worker", "state": state}]


def _owners(body: Body) -> set[str]:
    return {owner["uid"] for owner in body["metadata"].get("ownerReferences", [])}


def _merge(base: Body, patch: Body) -> Body:
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
