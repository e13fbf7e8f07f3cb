"""TrainJobs for tests. The defaults are the smallest body that the CRD accepts, so each call in a test matters.

make_trainjob().workers(4).per_pod(2).storage("s3://b/p").max_restarts(1).obj()
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from paceline.api import TrainJob, TrainJobStatus, names

UID = "0b6fd4a1-0000-4000-8000-000000000001"


def make_trainjob(name: str = "digits", namespace: str = "ml") -> TrainJobBuilder:
    """Begin a TrainJob as the API server shows it just after its creation."""
    return TrainJobBuilder(name, namespace)


class TrainJobBuilder:
    """Collects a body; `obj()` gives the model, `body()` what kubectl would send, `spec()` the model's spec."""

    def __init__(self, name: str, namespace: str) -> None:
        self._metadata: dict[str, Any] = {"name": name, "namespace": namespace}
        self._seen: dict[str, Any] = {"uid": UID, "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z"}
        self._spec: dict[str, Any] = {"image": "train:1", "command": ["python", "train.py"]}
        self._status: TrainJobStatus | None = None

    def obj(self) -> TrainJob:
        status = {} if self._status is None else {"status": self._status.to_body()}
        return TrainJob.model_validate({**self.body(), "metadata": {**self._metadata, **self._seen}, **status})

    def body(self) -> dict[str, Any]:
        return deepcopy(
            {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": self._metadata, "spec": self._spec}
        )

    # What it runs.
    def framework(self, framework: str) -> TrainJobBuilder:
        return self.set(framework=framework)

    def image(self, image: str) -> TrainJobBuilder:
        return self.set(image=image)

    def command(self, *command: str) -> TrainJobBuilder:
        return self.set(command=list(command))

    def args(self, *args: str) -> TrainJobBuilder:
        return self.set(args=list(args))

    def env(self, **variables: str) -> TrainJobBuilder:
        return self._append("env", *({"name": name, "value": value} for name, value in variables.items()))

    def env_from_secret(self, variable: str, secret: str, key: str) -> TrainJobBuilder:
        return self._append("env", {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})

    # Where it runs.
    def workers(self, count: int) -> TrainJobBuilder:
        return self._in("workers", count=count)

    def per_pod(self, per_pod: int) -> TrainJobBuilder:
        return self._in("workers", perPod=per_pod)

    def resources(self, **resources: str | int) -> TrainJobBuilder:
        return self._in("workers", resources=resources)

    def gpu_resource(self, name: str) -> TrainJobBuilder:
        return self._in("workers", gpuResource=name)

    def accelerator(self, name: str) -> TrainJobBuilder:
        return self._in("workers", accelerator=name)

    def placement(self, placement: str) -> TrainJobBuilder:
        return self._in("workers", placement=placement)

    def shared_memory(self, size: str) -> TrainJobBuilder:
        return self._in("workers", sharedMemory=size)

    def pod_template(
        self,
        spec: dict[str, Any] | None = None,
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> TrainJobBuilder:
        metadata = {"labels": labels or {}, "annotations": annotations or {}}
        return self.set(podTemplate={"metadata": metadata, "spec": spec or {}})

    def scheduling(self, **fields: Any) -> TrainJobBuilder:
        return self._in("scheduling", **fields)

    def inject_agent(self, inject: bool) -> TrainJobBuilder:
        return self._in("agent", inject=inject)

    # What it reads and writes.
    def storage(
        self, path: str, *, name: str | None = None, secret: str | None = None, key: str | None = None
    ) -> TrainJobBuilder:
        self._in("storage", path=path)
        if name is not None:
            self._in("storage", name=name)
        if secret is not None:
            self._in("storage", secretRef={"name": secret} if key is None else {"name": secret, "key": key})
        return self

    def volume(self, claim: str, mount_path: str, *, sub_path: str | None = None) -> TrainJobBuilder:
        volume = {"claimName": claim, "mountPath": mount_path}
        return self._in("storage", volume=volume if sub_path is None else {**volume, "subPath": sub_path})

    def credential(
        self,
        secret: str,
        *,
        mount_path: str | None = None,
        env: dict[str, str] | None = None,
        optional: bool = False,
        as_env: bool | None = None,
    ) -> TrainJobBuilder:
        credential: dict[str, Any] = {"secretRef": {"name": secret, "optional": optional}, "env": env or {}}
        if as_env is not None:
            credential["asEnv"] = as_env
        return self._append("credentials", {**credential, **({"mountPath": mount_path} if mount_path else {})})

    def tracking(self, **fields: Any) -> TrainJobBuilder:
        return self._in("tracking", **fields)

    def checkpoints(self, **fields: str | int) -> TrainJobBuilder:
        return self._in("checkpoints", **fields)

    def artifacts(self, **fields: bool | int) -> TrainJobBuilder:
        return self._in("artifacts", **fields)

    # How it ends.
    def max_restarts(self, max_restarts: int) -> TrainJobBuilder:
        return self._in("failurePolicy", maxRestarts=max_restarts)

    def failure_policy(self, **fields: Any) -> TrainJobBuilder:
        return self._in("failurePolicy", **fields)

    def backoff(self, initial: int, max: int) -> TrainJobBuilder:
        return self._in("failurePolicy", backoffSeconds={"initial": initial, "max": max})

    def deadline(self, seconds: int) -> TrainJobBuilder:
        return self.set(activeDeadlineSeconds=seconds)

    def ttl(self, seconds: int) -> TrainJobBuilder:
        return self.set(ttlSecondsAfterFinished=seconds)

    def clean_pod_policy(self, policy: str) -> TrainJobBuilder:
        return self.set(cleanPodPolicy=policy)

    def suspended(self, suspend: bool = True) -> TrainJobBuilder:
        return self.set(suspend=suspend)

    # What the cluster has made of it.
    def status(self, **fields: Any) -> TrainJobBuilder:
        self._status = TrainJobStatus.model_validate(fields)
        return self

    def generation(self, generation: int) -> TrainJobBuilder:
        self._seen["generation"] = generation
        return self

    def uid(self, uid: str) -> TrainJobBuilder:
        self._seen["uid"] = uid
        return self

    def labels(self, **labels: str) -> TrainJobBuilder:
        self._metadata["labels"] = labels
        return self

    def deleted(self, at: str = "2026-01-02T04:00:00Z") -> TrainJobBuilder:
        self._seen["deletionTimestamp"] = at
        return self

    def set(self, **fields: Any) -> TrainJobBuilder:
        """Set fields of the spec by their names in the manifest."""
        self._spec.update(fields)
        return self

    def _in(self, section: str, **fields: Any) -> TrainJobBuilder:
        self._spec.setdefault(section, {}).update(fields)
        return self

    def _append(self, field: str, *items: Any) -> TrainJobBuilder:
        self._spec.setdefault(field, []).extend(items)
        return self
