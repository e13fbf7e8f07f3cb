"""The API server: objects by kind, versions, conditional writes, watches that lag, and requests that go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from paceline_operator.cluster.client import ApiError
from tests.support.pods import T0

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """What differs by kind: a new kind is a line in KINDS."""

    kept: bool = True
    """False: writes are answered and forgotten (Events)."""
    keeps: tuple[str, ...] = ("spec", "status")
    """What of an object is held beside its metadata."""
    graceful: bool = False
    """Deletion takes a kubelet; others go at once."""
    finalized: bool = False
    """Deletion only marks it: somebody takes it away later."""


KINDS = {
    "trainjobs": Kind(),
    "pods": Kind(keeps=("status",), graceful=True),
    "services": Kind(keeps=()),
    "podgroups": Kind(keeps=("spec",), finalized=True),
    "events": Kind(kept=False),
}
_PATH = re.compile(r"^/(?:api|apis/[^/]+)/v\w+/namespaces/[^/]+/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?:/status)?$")
_encode = msgspec.json.encode


class Event:
    """A change, as watches tell it."""

    __slots__ = ("_line", "at", "body", "type", "version")

    def __init__(self, version: int, at: float, type: str, body: Body) -> None:
        self.version, self.at, self.type, self.body = version, at, type, body
        self._line: bytes | None = None

    @property
    def line(self) -> bytes:
        """The event as a line of a watch, encoded once for all who watch."""
        if self._line is None:
            self._line = _encode({"type": self.type, "object": self.body})
        return self._line


@dataclass(slots=True)
class Api:
    """All objects. A body is never changed in place: whoever holds one holds what it was."""

    time: Callable[[], float]
    objects: dict[str, dict[str, Body]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    log: dict[str, list[Event]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    version: int = 0
    uids: int = 0
    unserved: set[str] = field(default_factory=set)
    """Kinds that operators are answered 404 for."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """Watches from before this version are answered with 410."""
    changed: list[Callable[[str, Event, Body | None], None]] = field(default_factory=list)
    """Told of each change: kind, event, the body before."""
    admit: Callable[[str, Body], None] = lambda kind, body: None
    """Raises ApiError where an object may not be created."""

    def of(self, kind: str) -> list[Body]:
        """Return the objects of a kind."""
        return list(self.objects[kind].values())

    def get(self, kind: str, name: str) -> Body | None:
        """Return an object."""
        return self.objects[kind].get(name)

    # --- requests of operators ---------------------------------------------------------------------

    def handle(self, method: str, path: str, body: Body | None) -> Any:
        """Carry out a request. Raises ApiError as the API server would."""
        kind, name = parse(path)
        if kind in self.unserved:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        if method == "GET":
            return self._read(kind, name) if name else self.listed(kind)
        assert body is not None
        if method == "POST":
            return self.create(kind, body)
        if not KINDS[kind].kept:
            return {}
        before = self._read(kind, name)
        if method == "PATCH":
            return self._patch(kind, before, body)
        assert method == "DELETE"
        if body.get("preconditions", {}).get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            raise ApiError(409, "Conflict", f"{kind} {name}: the uid in the precondition differs")
        self.delete(kind, name)
        return {}

    def listed(self, kind: str, as_of: float | None = None) -> Body:
        """Return a list as the API server gives it; `as_of`: one that is stale, and says so by its version."""
        found, version = self.objects[kind], self.version
        if as_of is not None:
            found, version = {}, 0
            for event in self.log[kind]:
                if event.at > as_of:
                    break
                version = event.version
                found[event.body["metadata"]["name"]] = event.body
                if event.type == "DELETED":
                    del found[event.body["metadata"]["name"]]
        return {"metadata": {"resourceVersion": str(version)}, "items": list(found.values())}

    def _read(self, kind: str, name: str) -> Body:
        found = self.objects[kind].get(name)
        if found is None:
            raise ApiError(404, "NotFound", f"{kind} {name} not found", name=name)
        return found

    def create(self, kind: str, body: Body) -> Body:
        """Create an object. Raises ApiError."""
        shape, metadata = KINDS[kind], body["metadata"]
        if not shape.kept:
            return {}
        name = metadata["name"]
        if name in self.objects[kind]:
            raise ApiError(409, "AlreadyExists", f"{kind} {name} already exists")
        self.admit(kind, body)
        self.uids += 1
        held = {key: body[key] for key in shape.keeps if key in body}
        held["metadata"] = {**metadata, "uid": f"{name}-{self.uids}", "creationTimestamp": stamp(self.time())}
        if kind == "pods":
            # Of what a pod asks for, the scheduler of this cluster reads two things.
            affinity = (body["spec"].get("affinity") or {}).get("nodeAffinity")
            held["status"], held["spec"] = {"phase": "Pending"}, {"nodeAffinity": affinity} if affinity else {}
            if group := body["spec"].get("schedulingGroup"):
                held["spec"]["schedulingGroup"] = group
        if kind == "trainjobs":
            held["metadata"]["generation"] = 1
        return self._store(kind, held, "ADDED", None)

    def _patch(self, kind: str, before: Body, patch: Body) -> Body:
        wanted, metadata = patch.get("metadata", {}), before["metadata"]
        if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
            raise ApiError(409, "Conflict", f"{kind} {metadata['name']}: the uid differs")
        if wanted.get("resourceVersion", metadata["resourceVersion"]) != metadata["resourceVersion"]:
            raise ApiError(409, "Conflict", f"{kind} {metadata['name']}: the object has been modified")
        return self.change(kind, metadata["name"], status=merge(before.get("status") or {}, patch["status"]))

    # --- changes of others ---------------------------------------------------------------------------

    def change(self, kind: str, name: str, *, metadata: Body | None = None, **parts: Body) -> Body:
        """Replace parts of an object; of the metadata, single fields."""
        before = self.objects[kind][name]
        after = {**before, **parts, "metadata": {**before["metadata"], **(metadata or {})}}
        return self._store(kind, after, "MODIFIED", before)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object as a user would: a pod that has a node and has not ended goes gracefully."""
        body = self.objects[kind][name]
        ended = body.get("status", {}).get("phase") in ("Succeeded", "Failed")
        at_once = not KINDS[kind].graceful or ended or not body["spec"].get("nodeName")
        if at_once and not KINDS[kind].finalized:
            self.remove(kind, name)
        elif "deletionTimestamp" not in body["metadata"]:
            self.change(kind, name, metadata={"deletionTimestamp": stamp(self.time())})

    def remove(self, kind: str, name: str) -> None:
        """Take an object away."""
        body = self.objects[kind].pop(name)
        self.version += 1
        gone = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        self._tell(kind, Event(self.version, self.time(), "DELETED", gone), body)

    def _store(self, kind: str, body: Body, type: str, before: Body | None) -> Body:
        self.version += 1
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(self.version)
        self.objects[kind][metadata["name"]] = body
        self._tell(kind, Event(self.version, self.time(), type, body), before)
        return body

    def _tell(self, kind: str, event: Event, before: Body | None) -> None:
        self.log[kind].append(event)
        for told in self.changed:
            told(kind, event, before)


@lru_cache(4096)
def parse(path: str) -> tuple[str, str]:
    """Return kind and name of a path; the name is empty for a collection."""
    match = _PATH.match(path)
    known = match is not None and match["kind"] in KINDS
    assert known, f"the operator asks for {path}, which this cluster does not have"
    assert match is not None
    return match["kind"], match["name"] or ""


@lru_cache(4096)
def _stamp(second: int) -> str:
    return (T0 + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(seconds: float) -> str:
    """Return a time as Kubernetes writes it: in whole seconds."""
    return _stamp(int(seconds // 1))


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Body:
    """Apply a JSON merge patch (RFC 7386)."""
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def group_of(pod: Body) -> str:
    """Return the name of the PodGroup that a pod belongs to; empty without one."""
    name: str = (pod["spec"].get("schedulingGroup") or {}).get("podGroupName", "")
    return name


def owner(body: Body) -> str:
    """Return the uid of the object's owner; empty without one."""
    owners = body["metadata"].get("ownerReferences") or ()
    return owners[0]["uid"] if owners else ""
