"""Jobs, their pods, events and logs, as the API server gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from paceline.api import names
from paceline.client.connection import APPLY_PATCH, MERGE_PATCH, Connection, Object, segment
from paceline.client.errors import ClusterError, NotFoundError, UsageError

FIELD_MANAGER = "paceline"
# A watch is opened anew after this time, from a fresh look: no lost event can hide a change for longer.
WATCH_S = 30


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the commands ask a cluster for. Objects are plain JSON; every method may raise `ClientError`."""

    connection: Connection

    @property
    def namespace(self) -> str:
        """The namespace that the commands work in."""
        return self.connection.namespace

    def job(self, name: str) -> Object:
        """Return a TrainJob.

        Raises:
            NotFoundError: There is none of this name in the namespace.
        """
        try:
            return self.connection.get(self._job_path(name), doing=f"get trainjob {name}")
        except NotFoundError:
            raise NotFoundError(
                f"no TrainJob {name!r} in namespace {self.namespace!r}; all of them: paceline get -A"
            ) from None

    def jobs(self, *, everywhere: bool = False) -> tuple[list[Object], str]:
        """Return the TrainJobs of the namespace, or of all, and the version to watch from."""
        path = self._jobs_path(everywhere)
        found = self.connection.get(path, doing="list trainjobs")
        return list(found.get("items", [])), str(found.get("metadata", {}).get("resourceVersion", ""))

    def watch(self, *, name: str = "", everywhere: bool = False, since: str, seconds: float) -> Iterator[Object]:
        """Yield watch events ({type, object}) for `seconds`, or until the server ends it."""
        limit = max(1, min(WATCH_S, int(seconds)))
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": limit}
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        path = self._jobs_path(everywhere)
        for line in self.connection.lines(path, doing="watch trainjobs", query=query, silence_s=limit + 5):
            event: Object = json.loads(line)
            if event.get("type") == "ERROR":  # 410: the version is too old, the caller looks afresh
                return
            yield event

    def pods(self, job: str, attempt: int | None = None) -> list[Object]:
        """Return the job's pods, of one attempt or of all that are there, by attempt and index."""
        selector = f"{names.LABEL_JOB}={job}"
        if attempt is not None:
            selector += f",{names.LABEL_ATTEMPT}={attempt}"
        path = f"/api/v1/namespaces/{segment(self.namespace)}/pods"
        found = self.connection.get(path, doing=f"list the pods of {job}", query={"labelSelector": selector})
        return sorted(found.get("items", []), key=_place)

    def events(self, job: Object) -> list[Object]:
        """Return the events of the job and of its pods, oldest first; none where they may not be read."""
        name = job["metadata"]["name"]
        path = f"/api/v1/namespaces/{segment(self.namespace)}/events"
        try:
            found = self.connection.get(path, doing=f"list the events of {name}").get("items", [])
        except ClusterError as error:
            if error.retryable:
                raise
            return []
        mine = [event for event in found if _about(event.get("involvedObject", {}), job)]
        return sorted(mine, key=lambda event: (event_time(event), _written(event)))

    def log_lines(
        self, pod: str, *, follow: bool = False, stamped: bool = False, tail: int | None = None, since: str = "",
        silence_s: float | None = None,
    ) -> Iterator[bytes]:  # fmt: skip
        """Yield the lines that the worker container of a pod has written, and with `follow` those to come.

        Args:
            pod: Name of the pod.
            follow: Go on until the container ends, or until silence of `silence_s`.
            stamped: Each line begins with its time.
            tail: The last lines alone.
            since: From this time on; the API server knows it by seconds.
            silence_s: End after so long without a line; None: never.
        """
        query: Object = {"container": names.WORKER_CONTAINER}
        if follow:
            query["follow"] = "true"
        if stamped:
            query["timestamps"] = "true"
        if tail is not None:
            query["tailLines"] = tail
        if since:
            query["sinceTime"] = since
        path = f"/api/v1/namespaces/{segment(self.namespace)}/pods/{segment(pod)}/log"
        return self.connection.lines(path, doing=f"read the log of {pod}", query=query, silence_s=silence_s)

    def apply(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create a job, or change it as the manifest has it (server-side apply); return it as it is then."""
        name = body["metadata"].get("name")
        query: Object = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        if not name:  # generateName: only creation gives a name
            return self.connection.send("POST", self._jobs_path(), body, doing="create the trainjob", query=query)
        query["force"] = "true"
        path = self._job_path(name)
        doing = f"submit trainjob {name}"
        try:
            return self.connection.send("PATCH", path, body, doing=doing, content_type=APPLY_PATCH, query=query)
        except NotFoundError as error:
            raise UsageError(f"{error}; the namespace has to exist first") from None

    def create(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create a job; return it as it is then.

        Args:
            body: The manifest.
            dry_run: All checks of the API server are made, and nothing is created.
        Raises:
            ConflictError: There is one of this name.
            UsageError: The API server refuses it, or the namespace does not exist.
        """
        doing = f"create trainjob {body['metadata']['name']}"
        query: Object = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            return self.connection.send("POST", self._jobs_path(), body, doing=doing, query=query)
        except NotFoundError as error:
            raise UsageError(f"{error}; the namespace has to exist first") from None

    def create_config_map(self, body: Object, *, dry_run: bool = False) -> None:
        """Create a ConfigMap.

        Raises:
            ConflictError: There is one of this name.
        """
        doing = f"create configmap {body['metadata']['name']}"
        query: Object = {"fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        self.connection.send("POST", self._config_maps(), body, doing=doing, query=query)

    def delete_config_map(self, name: str) -> None:
        """Delete a ConfigMap; one that is not there is fine."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1"}
        with suppress(NotFoundError):
            self.connection.send("DELETE", self._config_maps(name), options, doing=f"delete configmap {name}")

    def set_suspend(self, name: str, suspend: bool) -> Object:
        """Set `spec.suspend`."""
        self.job(name)
        doing = f"{'suspend' if suspend else 'resume'} trainjob {name}"
        patch = {"spec": {"suspend": suspend}}
        path = self._job_path(name)
        return self.connection.send("PATCH", path, patch, doing=doing, content_type=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Delete a job; its pods and Service go with it, what is in storage stays."""
        self.job(name)
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        self.connection.send("DELETE", self._job_path(name), options, doing=f"delete trainjob {name}")

    def _jobs_path(self, everywhere: bool = False) -> str:
        where = "" if everywhere else f"/namespaces/{segment(self.namespace)}"
        return f"/apis/{names.GROUP}/{names.VERSION}{where}/{names.PLURAL}"

    def _config_maps(self, name: str = "") -> str:
        path = f"/api/v1/namespaces/{segment(self.namespace)}/configmaps"
        return f"{path}/{segment(name)}" if name else path

    def _job_path(self, name: str) -> str:
        return f"{self._jobs_path()}/{segment(name)}"


def event_time(event: Object) -> str:
    """Return when an event was last seen, as the API writes times; they sort as text."""
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    return next((str(time) for time in times if time), "")


def _written(event: Object) -> int:
    """Order of events of one second: the API server's versions grow with each write."""
    version = str(event["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0


def _place(pod: Object) -> tuple[int, int]:
    labels = pod["metadata"].get("labels", {})
    return int(labels.get(names.LABEL_ATTEMPT, 0)), int(labels.get(names.LABEL_INDEX, 0))


def _about(involved: Object, job: Object) -> bool:
    """Whether an event tells of this job or of a pod of it: `<job>-<attempt>-<index>`."""
    name = job["metadata"]["name"]
    if involved.get("kind") == names.KIND:
        return bool(involved.get("name") == name and involved.get("uid") in ("", None, job["metadata"].get("uid")))
    if involved.get("kind") != "Pod":
        return False
    head, _, index = str(involved.get("name", "")).rpartition("-")
    head, _, attempt = head.rpartition("-")
    return head == name and attempt.isdigit() and index.isdigit()
