"""The whole object: metadata, spec and status of a TrainJob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from paceline.api.spec import TrainJobSpec
from paceline.api.status import TrainJobStatus


class ObjectMeta(BaseModel):
    """The part of metav1.ObjectMeta that Paceline reads; the rest is left out when written."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    name: str = ""
    """Name: at most 50 characters, lower case letters, digits and `-`, starting with a letter."""
    namespace: str | None = None
    """Namespace; None in a manifest that leaves it to kubectl."""
    uid: str = ""
    """Differs for a job made anew under the same name."""
    generation: int = 0
    """Grows with each change of the spec."""
    resource_version: str = ""
    """Version of the object in the API server."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the job."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the job."""
    creation_timestamp: AwareDatetime | None = None
    """When it was created."""
    deletion_timestamp: AwareDatetime | None = None
    """When its deletion was asked for."""


class TrainJob(BaseModel):
    """A training run: workers in pods, started again as a whole after a failure, from the latest checkpoint."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    api_version: Literal["paceline.dev/v1alpha1"] = "paceline.dev/v1alpha1"
    """Group and version."""
    kind: Literal["TrainJob"] = "TrainJob"
    """Kind."""
    metadata: Annotated[ObjectMeta, Field(default_factory=ObjectMeta)]
    """Name, namespace, labels and annotations."""
    spec: TrainJobSpec
    """What to run, on how many workers, and where the results go."""
    status: TrainJobStatus = Field(default_factory=TrainJobStatus)
    """What the operator has seen and done."""

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> TrainJob:
        """Read an object as the API server gives it.

        Fields that a newer schema knows and this version does not are left out: an operator stays able to read its
        jobs while the CRD is upgraded before it.

        Raises:
            pydantic.ValidationError: The object does not fit the schema of this version.
        """
        return cls.model_validate(body, extra="ignore")

    def to_body(self) -> dict[str, Any]:
        """Return the object as JSON values with the names of the schema, without what is empty or absent."""
        body = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": self.metadata.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "spec": _plain(self.spec),
        }
        if self.status != TrainJobStatus():
            body["status"] = self.status.to_body()
        return body

    @property
    def name(self) -> str:
        """Name of the job: also of its Service, and the first part of its pods' names."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the job."""
        return self.metadata.namespace or "default"

    @property
    def uid(self) -> str:
        """The run id: the same in every attempt."""
        return self.metadata.uid

    @property
    def experiment_name(self) -> str:
        """Directory of the run below the storage path."""
        return self.spec.storage.name or self.metadata.name


def _plain(value: Any) -> Any:
    """The values of a model as the API server keeps them: it fills in no empty lists, maps and texts."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, BaseModel):
        return value
    plain = {}
    for name, field in type(value).model_fields.items():
        item = _plain(getattr(value, name))
        # Where the default is None, `{}` says something: a tracker with all of its defaults.
        nothing = item in ([], {}) and field.default is not None
        empty = item is None or nothing or (item == "" and field.default == "")
        if field.is_required() or not empty:
            plain[field.alias or name] = item
    return plain
