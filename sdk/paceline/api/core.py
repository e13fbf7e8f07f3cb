"""The pieces of core/v1 that a TrainJob takes over, with the same names and meaning."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from paceline.api.base import PRESERVE_UNKNOWN, TYPE_RULE, Divisor, SpecModel

ObjectName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=253, json_schema_extra={TYPE_RULE: "object-name"})
]
Key: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]


class KeyRef(SpecModel):
    """One key of a Secret or a ConfigMap in the job's namespace."""

    name: ObjectName
    """Name of the object."""
    key: Key
    """Key in it."""
    optional: bool = False
    """True: the variable is left out where the object or the key is missing. False: the pod waits for it."""


class FieldRef(SpecModel):
    """A field of the pod."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """Path of the field, such as `status.podIP` or `metadata.labels['team']`."""
    api_version: Annotated[str, Field(max_length=63)] = "v1"
    """Version of the schema that the path is written in."""


class ResourceFieldRef(SpecModel):
    """A resource limit or request of the container."""

    resource: Annotated[str, Field(min_length=1, max_length=253)]
    """Resource, such as `limits.memory`."""
    container_name: Annotated[str, Field(max_length=63)] | None = None
    """Container; the worker when absent."""
    divisor: Divisor | None = None
    """Unit of the value, such as `1Mi`."""


class EnvVarSource(SpecModel):
    """Where the value of a variable comes from: exactly one of the four."""

    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    field_ref: FieldRef | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """A resource limit or request."""


class EnvVar(SpecModel):
    """An environment variable of every worker."""

    name: Annotated[str, Field(min_length=1, max_length=256, json_schema_extra={TYPE_RULE: "env-name"})]
    """Name. The rank variables (RANK, WORLD_SIZE, MASTER_ADDR ...) and PACELINE_* are set by Paceline and refused."""
    value: Annotated[str, Field(max_length=32_768)] | None = None
    """Value; `$(NAME)` of an earlier variable is replaced."""
    value_from: EnvVarSource | None = None
    """Source of the value, instead of `value`."""


class ObjectRef(SpecModel):
    """A Secret or a ConfigMap in the job's namespace."""

    name: ObjectName
    """Name of the object."""
    optional: bool = False
    """True: the worker starts without it where it is missing. False: the pod waits for it."""


class EnvFromSource(SpecModel):
    """A Secret or a ConfigMap whose keys become variables: exactly one of the two."""

    prefix: Annotated[str, Field(max_length=256)] | None = None
    """Text put in front of each key."""
    secret_ref: ObjectRef | None = None
    """The Secret."""
    config_map_ref: ObjectRef | None = None
    """The ConfigMap."""


LabelMap: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)]
AnnotationMap: TypeAlias = Annotated[dict[str, Annotated[str, Field(max_length=32_768)]], Field(max_length=64)]


class PodTemplateMetadata(SpecModel):
    """Labels and annotations of the pods."""

    labels: LabelMap = Field(default_factory=dict)
    """Labels added to each pod. Those under `paceline.dev/` are set by Paceline and refused."""
    annotations: AnnotationMap = Field(default_factory=dict)
    """Annotations added to each pod."""


_OWNED = {"type": "string", "maxLength": 253, "description": "Set by Paceline, refused here."}
# CEL sees what the schema names, so the schema names what has to be refused.
_POD_SPEC: dict[str, Any] = {
    PRESERVE_UNKNOWN: True,
    "properties": {"restartPolicy": _OWNED, "hostname": _OWNED, "subdomain": _OWNED},
}


class PodTemplate(SpecModel):
    """A core/v1 PodTemplateSpec, merged last into the pods that Paceline makes."""

    metadata: PodTemplateMetadata = Field(default_factory=PodTemplateMetadata)
    """Labels and annotations of the pods."""
    spec: Annotated[dict[str, Any], Field(json_schema_extra=_POD_SPEC)] = Field(default_factory=dict)
    """A core/v1 PodSpec: tolerations, volumes, serviceAccountName ... The worker is the container named `worker`.
    restartPolicy, hostname and subdomain belong to Paceline and are refused."""
