"""The agent's configuration, read from the environment in one place."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.agent.errors import InvalidConfigError
from paceline.policy.retention import Retention

_POD_DIRECTORY = Path("/paceline")
_DEFAULT_GRACE_S = 30.0
_DEFAULT_LEAD_START_S = 1800.0
_DEFAULT_LEAD_LOST_S = 20.0
_DEFAULT_MAX_PENDING = 2


@dataclass(frozen=True, slots=True)
class ArtifactSync:
    """Which files of the working directory are stored when (`spec.artifacts`, `SyncConfig`)."""

    sync: bool = False
    period_s: float = 300.0
    timeout_s: float = 1800.0  # of one round of storing
    on_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything that an agent needs to know before it starts."""

    command: tuple[str, ...]
    directory: Path  # the agent's own: socket, staging, local copy of the run files
    world_size: int = 1
    local_world_size: int = 1
    node_rank: int = 0
    first_rank: int = 0  # rank of the pod's first process
    job: str = "local"
    namespace: str = ""
    run_id: str = ""
    attempt: int = 0
    framework: str = "none"
    storage_path: str = ""  # empty: nothing is stored
    experiment_name: str = "local"
    resume_from: str = ""
    retention: Retention = field(default_factory=Retention)
    max_pending: int = _DEFAULT_MAX_PENDING  # checkpoints of a pod that may wait for the store
    artifacts: ArtifactSync = field(default_factory=ArtifactSync)
    own_work_directory: Path | None = None  # where the processes run, whatever lies there; None: the image decides
    storage_filesystem: Path | None = None  # holds a pickled filesystem object, in which the storage path lies
    lead: tuple[str, int] = ("127.0.0.1", c.AGENT_HTTP_PORT)
    previous_lead: tuple[str, int] | None = None  # of the attempt before this one
    grace_s: float = _DEFAULT_GRACE_S
    http_host: str | None = None  # None: every interface, IPv4 and IPv6
    http_port: int = c.AGENT_HTTP_PORT
    termination_log: Path = Path("/dev/termination-log")
    lead_start_s: float = _DEFAULT_LEAD_START_S
    lead_lost_s: float = _DEFAULT_LEAD_LOST_S
    stall_s: float = 0.0  # silence of a process that has reported before, until the attempt is given up; 0: for ever
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)  # what the processes inherit; may hold secrets

    @property
    def is_lead(self) -> bool:
        """Whether this agent gathers and commits for all."""
        return self.node_rank == 0

    @property
    def work_directory(self) -> Path:
        """Where the processes run, when that is not the image's working directory."""
        in_pod = self.directory == _POD_DIRECTORY / "agent"
        return _POD_DIRECTORY / "work" if in_pod else self.directory / "work"

    @property
    def nodes(self) -> int:
        """Number of agents."""
        return self.world_size // self.local_world_size

    @property
    def ranks(self) -> range:
        """Ranks of this pod."""
        return range(self.first_rank, self.first_rank + self.local_world_size)

    @classmethod
    def from_env(cls, command: Sequence[str], environ: Mapping[str, str]) -> AgentConfig:
        """Read what the operator set on the pod.

        Raises:
            InvalidConfigError: A value makes no sense; the message names the variable.
        """
        if not command:
            raise InvalidConfigError("no command: start the agent as `paceline-agent -- <command> [args...]`")
        world_size = _integer(environ, c.WORLD_SIZE, 1, least=1)
        local_world_size = _integer(environ, c.LOCAL_WORLD_SIZE, 1, least=1)
        if world_size % local_world_size:
            raise InvalidConfigError(
                f"{c.WORLD_SIZE}={world_size} is not a multiple of {c.LOCAL_WORLD_SIZE}={local_world_size}"
            )
        node_rank = _integer(environ, c.NODE_RANK, 0, least=0)
        first_rank = _integer(environ, c.RANK, node_rank * local_world_size, least=0)
        if node_rank >= world_size // local_world_size or first_rank != node_rank * local_world_size:
            raise InvalidConfigError(
                f"{c.NODE_RANK}={node_rank} and {c.RANK}={first_rank} do not fit {c.WORLD_SIZE}={world_size} with"
                f" {c.LOCAL_WORLD_SIZE}={local_world_size}"
            )
        job = environ.get(c.JOB) or "local"
        checkpoints = _object(environ, c.CHECKPOINTS)
        http_port = _integer(environ, c.AGENT_PORT, c.AGENT_HTTP_PORT, least=0)
        return cls(
            command=tuple(command),
            directory=_directory(environ),
            world_size=world_size,
            local_world_size=local_world_size,
            node_rank=node_rank,
            first_rank=first_rank,
            job=job,
            namespace=environ.get(c.NAMESPACE, ""),
            run_id=environ.get(c.RUN_ID) or job,
            attempt=_integer(environ, c.ATTEMPT, 0, least=0),
            framework=environ.get(c.FRAMEWORK) or "none",
            storage_path=environ.get(c.STORAGE_PATH, ""),
            experiment_name=environ.get(c.EXPERIMENT_NAME) or job,
            resume_from=environ.get(c.RESUME_FROM, ""),
            retention=_retention(checkpoints),
            max_pending=_max_pending(checkpoints),
            artifacts=_artifacts(_object(environ, c.ARTIFACTS)),
            own_work_directory=Path(work) if (work := environ.get(c.WORK_DIR)) else None,
            storage_filesystem=Path(filesystem) if (filesystem := environ.get(c.STORAGE_FILESYSTEM)) else None,
            lead=_lead(environ, http_port, node_rank),
            previous_lead=_previous_lead(environ, job),
            grace_s=_seconds(environ, c.GRACE_SECONDS, _DEFAULT_GRACE_S),
            stall_s=_seconds(environ, c.STALL_SECONDS, 0.0),
            http_host=environ.get(c.AGENT_HOST) or None,
            http_port=http_port,
            termination_log=Path(environ.get(c.TERMINATION_LOG) or "/dev/termination-log"),
            lead_start_s=_seconds(environ, c.LEAD_START_SECONDS, _DEFAULT_LEAD_START_S),
            lead_lost_s=_seconds(environ, c.LEAD_LOST_SECONDS, _DEFAULT_LEAD_LOST_S),
            environ=dict(environ),
        )


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise InvalidConfigError(f"{name}={text!r} is not a whole number") from None
    if value < least:
        raise InvalidConfigError(f"{name}={value}: must be {least} or more")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise InvalidConfigError(f"{name}={text!r} is not a number of seconds") from None
    if not 0 <= value < float("inf"):
        raise InvalidConfigError(f"{name}={text}: must be 0 or more")
    return value


def _lead(environ: Mapping[str, str], http_port: int, node_rank: int) -> tuple[str, int]:
    text = environ.get(c.LEAD, "")
    if not text:
        if node_rank > 0:
            raise InvalidConfigError(f"{c.LEAD} is not set: pod {node_rank} must know the agent of pod 0 as host:port")
        return "127.0.0.1", http_port
    return _address(c.LEAD, text)


def _previous_lead(environ: Mapping[str, str], job: str) -> tuple[str, int] | None:
    """By the names that the operator gives to pods."""
    if given := environ.get(c.PREVIOUS_LEAD):
        return _address(c.PREVIOUS_LEAD, given)
    attempt = _integer(environ, c.ATTEMPT, 0, least=0)
    host, _, port = environ.get(c.LEAD, "").rpartition(":")
    if not attempt or host != f"{job}-{attempt}-0.{job}":
        return None
    return f"{job}-{attempt - 1}-0.{job}", int(port)


def _address(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise InvalidConfigError(f"{name}={text!r} is not host:port")
    return host.strip("[]"), int(port)


def _object(environ: Mapping[str, str], name: str) -> Mapping[str, Any]:
    text = environ.get(name, "")
    try:
        given: Any = json.loads(text or "{}")
    except ValueError as e:
        raise InvalidConfigError(f"{name}={text!r}: {e}") from None
    if not isinstance(given, dict):
        raise InvalidConfigError(f"{name}={text!r}: not a JSON object")
    return given


def _retention(given: Mapping[str, Any]) -> Retention:
    keep = given.get("keep")
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int)):
        raise InvalidConfigError(f"{c.CHECKPOINTS}: keep is {keep!r}: must be a whole number")
    try:
        return Retention(keep, given.get("scoreAttribute") or None, given.get("scoreOrder") or "max")
    except ValueError as e:
        raise InvalidConfigError(f"{c.CHECKPOINTS}: {e}") from None


def _max_pending(given: Mapping[str, Any]) -> int:
    value = given.get("maxPending", _DEFAULT_MAX_PENDING)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidConfigError(f"{c.CHECKPOINTS}: maxPending is {value!r}: must be a whole number, 1 or more")
    return value


def _artifacts(given: Mapping[str, Any]) -> ArtifactSync:
    def seconds(key: str, default: float) -> float:
        value = given.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise InvalidConfigError(f"{c.ARTIFACTS}: {key} is {value!r}: must be a number of seconds above 0")
        return float(value)

    return ArtifactSync(
        sync=given.get("sync") is True,
        period_s=seconds("periodSeconds", ArtifactSync().period_s),
        timeout_s=seconds("timeoutSeconds", ArtifactSync().timeout_s),
        on_checkpoint=given.get("onCheckpoint") is True,
    )


def _directory(environ: Mapping[str, str]) -> Path:
    if given := environ.get(c.AGENT_DIR):
        return Path(given)
    if _POD_DIRECTORY.is_dir() and os.access(_POD_DIRECTORY, os.W_OK):
        return _POD_DIRECTORY / "agent"
    return Path(tempfile.mkdtemp(prefix="paceline-agent-"))
