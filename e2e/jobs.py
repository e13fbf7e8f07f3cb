"""A namespace with a bucket, and the jobs that the end-to-end tests and `make run` start in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from e2e.cluster.images import TORCH_IMAGE
from e2e.cluster.s3 import S3Server
from e2e.kube import Kube, new_namespace, new_secret, wait_for
from e2e.stack import RESTRICTED, ROOT, Stack
from e2e.stored import OnS3

EXAMPLES = ROOT / "examples"
SECRET = "s3-credentials"
BUCKET_NAME = "experiments"
FINISHED = frozenset({"Succeeded", "Failed"})
EVENT_S = 30
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where jobs run: a namespace that enforces Pod Security "restricted", a bucket, a Secret with its keys."""

    stack: Stack
    namespace: str
    storage_path: str
    s3: S3Server
    bucket: str

    @classmethod
    def create(cls, stack: Stack, s3: S3Server, namespace: str) -> Workspace:
        """Make the namespace, the bucket and the Secret where they are not there yet."""
        bucket = f"{BUCKET_NAME}-{namespace}"
        s3.make_bucket(bucket)
        storage_path = f"s3://{bucket}/runs?endpoint_override={quote(s3.endpoint, safe=':/')}"
        made = cls(stack, namespace, storage_path, s3, bucket)
        keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        stack.kube.apply(new_namespace(namespace, **RESTRICTED), new_secret(SECRET, namespace, **keys))
        return made

    @property
    def kube(self) -> Kube:
        """The cluster."""
        return self.stack.kube

    def secret(self, name: str, **values: str) -> None:
        """Make or replace a Secret."""
        self.kube.apply(new_secret(name, self.namespace, **values))

    def delete(self) -> None:
        """Delete the namespace and what is in it, without waiting for the last of it."""
        self.kube.delete("namespace", self.namespace, "")

    def submit(self, *objects: Object) -> None:
        """Apply a job and what it needs."""
        self.kube.apply(*objects, namespace=self.namespace)

    def job(self, name: str) -> Object:
        """Return the job as it is now."""
        found = self.kube.get("trainjob", name, self.namespace)
        assert found is not None, f"TrainJob {name} is gone"
        return found

    def status(self, name: str) -> Object:
        """Return the job's status as it is now, empty before the operator has seen it."""
        status: Object = self.job(name).get("status", {})
        return status

    def pods(self, name: str, attempt: int | None = None) -> list[Object]:
        """Return the job's pods, of one attempt or of all that are there."""
        selector = f"paceline.dev/job={name}"
        if attempt is not None:
            selector += f",paceline.dev/attempt={attempt}"
        return self.kube.list("pods", self.namespace, selector)

    def events(self, name: str) -> list[Object]:
        """Return the events of the job itself, oldest first."""
        found = [e for e in self.kube.list("events", self.namespace) if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda e: e.get("firstTimestamp") or e.get("eventTime") or "")

    def wait_events(self, name: str, reason: str) -> list[Object]:
        """Wait for events of the job with that reason; return them. The status goes on record before they do."""
        return wait_for(
            f"an event {reason} of {name}",
            lambda: [event for event in self.events(name) if event["reason"] == reason] or None,
            timeout_s=EVENT_S,
            seen=lambda: self.events(name),
        )

    def wait_phase(self, name: str, *phases: str, timeout_s: float) -> Object:
        """Wait for one of the phases; return the status then. Fails at once when the job ends in another."""

        def look() -> Object | None:
            status = self.status(name)
            phase = status.get("phase")
            if phase in phases:
                return status
            assert phase not in FINISHED, f"{name} ended {phase}, wanted {phases}: {_tell(status)}"
            return None

        return wait_for(f"{name} to be {' or '.join(phases)}", look, timeout_s=timeout_s, seen=lambda: self.tell(name))

    def wait_step(self, name: str, step: int, *, timeout_s: float) -> Object:
        """Wait until a checkpoint at or after `step` is committed; return the status then."""

        def look() -> Object | None:
            status = self.status(name)
            assert status.get("phase") not in FINISHED, f"{name} ended before step {step}: {_tell(status)}"
            return status if status.get("checkpoint", {}).get("step", -1) >= step else None

        return wait_for(f"{name} to checkpoint step {step}", look, timeout_s=timeout_s, seen=lambda: self.tell(name))

    def tell(self, name: str) -> str:
        """Say all that helps to see why a job is not where it should be."""
        pods = [
            f"{p['metadata']['name']}={p['status'].get('phase')}"
            f" {[c.get('state') for c in p['status'].get('containerStatuses', [])]}"
            for p in self.pods(name)
        ]
        return f"{_tell(self.status(name))}; pods: {pods}"

    def objects_on_storage(self) -> dict[str, int]:
        """Return every object of the bucket with its size in bytes."""
        return OnS3(self.s3, self.bucket).sizes()

    def read_object(self, key: str) -> str:
        """Return an object of the bucket as text."""
        return OnS3(self.s3, self.bucket).read(key).decode()


def digits(space: Workspace, name: str = "digits", manifest: str = "trainjob.yaml", **edits: Any) -> list[Object]:
    """Return the torch-digits example's objects, with this workspace's storage.

    Args:
        space: Where it will run.
        name: Name of the job.
        manifest: Which of the example's manifests.
        edits: Dotted paths below `spec` with `__` for the dot, and their values: `workers__count=2`.
    """
    job = load_example("torch-digits", manifest)
    job["metadata"] = {"name": name}
    job["spec"]["image"] = TORCH_IMAGE
    if str(job["spec"]["storage"].get("path", "")).startswith("s3:"):
        job["spec"]["storage"] |= {"path": space.storage_path, "secretRef": {"name": SECRET}}
    for path, value in edits.items():
        *parents, last = path.split("__")
        place = job["spec"]
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return [*script_maps("torch-digits"), job]


def load_example(example: str, manifest: str = "trainjob.yaml") -> Object:
    """Return the TrainJob of an example as a fresh dict."""
    for document in yaml.safe_load_all((EXAMPLES / example / manifest).read_text()):
        if document["kind"] == "TrainJob":
            found: Object = copy.deepcopy(document)
            return found
    raise LookupError(f"examples/{example}/{manifest} holds no TrainJob")


def script_maps(example: str) -> list[Object]:
    """Return the ConfigMaps that the example's kustomization makes of its scripts."""
    folder = EXAMPLES / example
    made: list[Object] = []
    for entry in yaml.safe_load((folder / "kustomization.yaml").read_text()).get("configMapGenerator", []):
        data = {Path(file).name: (folder / file).read_text() for file in entry["files"]}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data})
    return made


def slowed(function: str, pause_s: float) -> list[str]:
    """Return the command of an example in which `function`, called once an epoch, takes so many seconds longer.

    Something can be broken between two epochs then, and a pause takes no processor from what else runs.
    """
    script = f"""
import sys, time
sys.path.insert(0, "/app")
import train
original = {function}
def slowed(*arguments, **keywords):
    time.sleep({pause_s})
    return original(*arguments, **keywords)
{function} = slowed
train.main()
"""
    return ["python", "-c", script]


def _tell(status: Object) -> str:
    told = {
        key: status.get(key) for key in ("phase", "attempt", "restarts", "workers", "conditions", "history", "result")
    }
    return str({key: value for key, value in told.items() if value})
