"""The operator's configuration: a YAML file, each mistake in it told by field, value and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from paceline.api.storage_rules import CREDENTIALS, STORES
from paceline_operator.policies.config import JobDefaults


class SettingsError(Exception):
    """The configuration cannot be used; the message names each field."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


def _store(path: str) -> str:
    # Jobs cannot have what the API server would refuse in them.
    if re.search(CREDENTIALS, path):
        raise ValueError("carries credentials, and every pod shows it: remove them, and name a Secret in secretRef")
    if not path.startswith(("/", *(f"{store}://" for store in STORES))):
        raise ValueError(f"{path!r} is in no known store: begin with {', '.join(STORES)}, or with / on a volume")
    return path


class SecretRef(_Model):
    """A Secret in the namespace of each job."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """For a `gs://` path: which key of it is the service account's JSON."""


class DefaultStorage(_Model):
    """Storage of jobs that name none."""

    path: Annotated[str, Field(min_length=1), AfterValidator(_store)] | None = None
    secret_ref: SecretRef | None = None


class TensorBoard(_Model):
    """Whether jobs get a TensorBoard of their own (`spec.tracking.tensorboard.serve`)."""

    enabled: bool = True


class LeaderElection(_Model):
    """Which of several replicas works."""

    enabled: bool = True
    lease_name: Annotated[str, Field(min_length=1, max_length=63)] = "paceline-operator"
    lease_duration_seconds: Annotated[int, Field(ge=3, le=300)] = 15


class Settings(_Model):
    """All of the configuration. Defaults are those of the chart."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty: the whole cluster."""
    agent_image: Annotated[str, Field(min_length=1)] = "paceline/operator"
    agent_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    default_storage: DefaultStorage = DefaultStorage()
    accelerators: dict[str, dict[str, str]] = Field(default_factory=dict)
    pod_security: Literal["restricted", "none"] = "restricted"
    run_as_user: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1000
    tensorboard: TensorBoard = TensorBoard()
    leader_election: LeaderElection = LeaderElection()
    http_port: Annotated[int, Field(ge=1, le=65535)] = 8080
    progress_poll_seconds: Annotated[float, Field(ge=0.2, le=3600)] = 3.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "text"

    def job_defaults(self) -> JobDefaults:
        """Return what decisions and manifests need of it."""
        secret = self.default_storage.secret_ref
        return JobDefaults(
            agent_image=self.agent_image,
            agent_image_pull_policy=self.agent_image_pull_policy,
            storage_path=self.default_storage.path,
            storage_secret=secret.name if secret else None,
            storage_secret_key=secret.key if secret else None,
            accelerators=self.accelerators,
            pod_security=self.pod_security,
            run_as_user=self.run_as_user,
            tensorboard=self.tensorboard.enabled,
        )


def load(path: Path | None, **overrides: Any) -> Settings:
    """Read the file (None: defaults alone) and put the overrides that are not None on top.

    Raises:
        SettingsError: It cannot be read or does not fit; the message says where and what is allowed.
    """
    found: Any = {}
    if path is not None:
        try:
            found = yaml.safe_load(path.read_text()) or {}
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}: name an existing file by --config") from error
        except yaml.YAMLError as error:
            raise SettingsError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds a {type(found).__name__}: write a map of settings")
    try:
        return Settings.model_validate({**found, **{k: v for k, v in overrides.items() if v is not None}})
    except ValidationError as error:
        lines = [_sentence(one) for one in error.errors()]
        raise SettingsError(f"{path or 'settings'}: " + "; ".join(lines)) from error


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "value_error":
        # Our own, which decides by itself whether the value may be shown.
        return f"{where} {error['ctx']['error']}"
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in Settings.model_fields.items())
        hint = f" (known: {known})" if len(error["loc"]) == 1 else ""
        return f"{where} is no setting{hint}"
    return f"{where} is {error['input']!r}: {error['msg']}"
