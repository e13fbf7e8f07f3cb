"""`Kubernetes(...)`: where and in what pods a run on a cluster takes place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.train import Result
    from paceline.trainer._plan import Plan
    from paceline.trainer.cluster.handle import RunHandle

# A job that is deleted as soon as it ends leaves nothing for `fit()` to read its end from.
LEAST_TTL_S = 60


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolumeClaim that every pod mounts, and that holds `RunConfig.storage_path`.

    Attributes:
        claim: Its name, in the job's namespace. With more than one pod it has to be ReadWriteMany.
        mount_path: An absolute path in the pods; `storage_path` is at or below it.
        sub_path: A directory of the volume to mount instead of its root.
    """

    claim: str
    mount_path: str
    sub_path: str | None = None

    def __post_init__(self) -> None:
        for name in ("claim", "mount_path"):
            _check_text(f"Volume.{name}", getattr(self, name))
        if not self.mount_path.startswith("/"):
            raise ValueError(f"Volume.mount_path is {self.mount_path!r}: write an absolute path such as /mnt/shared")


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Run on a cluster that has Paceline's operator: `Trainer(train_fn, backend=Kubernetes(image="team/train:1"))`.

    Everything is checked when the object is made, and again, with the rest of the run, before anything is created.

    Attributes:
        image: Image of the workers, with this Python's minor version and what the training function imports.
        namespace: None: the context's, in a pod the pod's own.
        context: Of the kubeconfig. None: the current one.
        kubeconfig: A path. None: KUBECONFIG, else `~/.kube/config`, in a pod its service account.
        storage_secret: Secret whose keys become variables of the workers for `RunConfig.storage_path`
            (AWS_ACCESS_KEY_ID ...); for `gs://`, its key `key.json` becomes a file. None: the pods' own identity.
        volume: A claim that holds `RunConfig.storage_path` when that is a path.
        credentials: Secrets that reach every worker: a name, whose keys become variables, or an item of
            `spec.credentials` as a dict (`{"secretRef": {"name": "netrc"}, "mountPath": "/etc/netrc"}`).
        env: Variables of the workers: texts, or `{"valueFrom": ...}` as in Kubernetes.
        per_pod: Workers in a pod, usually the GPUs of a node. `num_workers` is a multiple of it.
        gpu_resource: Name of the resource that "GPU" counts.
        shared_memory: Size of /dev/shm in each pod, such as `8Gi`. None: the node's default.
        working_dir: A directory whose files go along: it is unpacked in every worker and stands first on its
            `sys.path`. At most 100 MiB.
        exclude: Patterns of what stays behind of it, such as `data` or `*.ckpt`; `.git`, caches and virtual
            environments always do.
        pod_template: Merged last into the pods, as `spec.podTemplate`; the worker is the container named `worker`.
        image_pull_policy: `Always`, `IfNotPresent` or `Never`. None: as Kubernetes decides.
        active_deadline_seconds: The job fails after so long. None: no limit.
        ttl_seconds_after_finished: The job is deleted so long after its end, 60 at least; storage stays. None: kept.
        labels: Labels of the TrainJob, such as a queue's.
        spec: Anything else of a TrainJob's `spec`, merged over what the rest makes: `{"scheduling": {"gang": "None"}}`.
    """

    image: str
    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | os.PathLike[str] | None = None
    storage_secret: str | None = None
    volume: Volume | None = None
    credentials: Sequence[str | Mapping[str, Any]] = ()
    env: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    per_pod: int = 1
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str | None = None
    working_dir: str | os.PathLike[str] | None = None
    exclude: Sequence[str] = ()
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    image_pull_policy: str | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_text("Kubernetes.image", self.image)
        if any(character.isspace() for character in self.image):
            raise ValueError(f"Kubernetes.image is {self.image!r}: it contains a space; write registry/team/train:1")
        for name in ("namespace", "context", "storage_secret"):
            if getattr(self, name) is not None:
                _check_text(f"Kubernetes.{name}", getattr(self, name))
        for name in ("env", "pod_template", "labels", "spec"):
            _check_kind(f"Kubernetes.{name}", getattr(self, name), Mapping, "a dict")
        for name in ("credentials", "exclude"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(f"Kubernetes.{name} is the text {value!r}: pass a list, [{value!r}]")
            _check_kind(f"Kubernetes.{name}", value, Sequence, "a list")
        for name, variable in self.env.items():
            if not isinstance(variable, str | Mapping):
                raise TypeError(
                    f"Kubernetes.env[{name!r}] is {variable!r}, a {type(variable).__name__}: pass a text, or a dict"
                    ' such as {"valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api-key"}}}'
                )
        if self.volume is not None:
            _check_kind("Kubernetes.volume", self.volume, Volume, 'paceline.trainer.Volume("claim", "/mnt/shared")')
        if isinstance(self.per_pod, bool) or not isinstance(self.per_pod, int) or self.per_pod < 1:
            raise ValueError(f"Kubernetes.per_pod is {self.per_pod!r}: pass how many workers share a pod, 1 or more")
        ttl = self.ttl_seconds_after_finished
        if ttl is not None and ttl < LEAST_TTL_S:
            raise ValueError(
                f"Kubernetes.ttl_seconds_after_finished is {ttl}: use {LEAST_TTL_S} at least, since a job that is"
                " deleted cannot tell how it ended"
            )
        try:
            from paceline.trainer.cluster import manifest
        except ImportError as error:
            raise ImportError(f"a run on Kubernetes needs {error.name}: pip install 'paceline[cli]'") from None

        # What of this object alone is wrong shows in the line that made it.
        manifest.check_own(self)

    def run(self, plan: Plan, *, detach: bool) -> Result | RunHandle:
        """Start a run: what `fit()` calls."""
        from paceline.trainer.cluster import running

        return running.run(plan, self, detach=detach)

    def to_manifest(self, plan: Plan) -> str:
        """The run's ConfigMap and TrainJob as YAML: what `Trainer.to_manifest()` calls."""
        from paceline.trainer.cluster import running

        return running.to_manifest(plan, self)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a {type(value).__name__}: pass a text")
    if not value.strip():
        raise ValueError(f"{what} is empty")


def _check_kind(what: str, value: object, kind: type, wanted: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is a {type(value).__name__}: pass {wanted}")
