"""Experiment trackers: `spec.tracking`, and what `status.tracking` says of their runs."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from paceline.api.base import SpecModel, StatusModel, Uri, Word

TrackerMode: TypeAlias = Literal["online", "offline"]
TrackerName: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]

MAX_TRACKING = 8


class Wandb(SpecModel):
    """Weights & Biases. Its key comes from `credentials`, as the variable WANDB_API_KEY."""

    project: TrackerName | None = None
    """Project: WANDB_PROJECT. Absent: the library's default."""
    entity: TrackerName | None = None
    """User or team: WANDB_ENTITY. Absent: the key's own."""
    mode: TrackerMode | None = None
    """online or offline: WANDB_MODE. offline: files below the run's storage, for `wandb sync` later; no key is needed.
    Absent: online."""


class Mlflow(SpecModel):
    """MLflow. User, password or token come from `credentials`."""

    tracking_uri: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """`http://host:5000`, `databricks`, `sqlite:////mnt/shared/mlflow.db` or what else MLflow takes:
    MLFLOW_TRACKING_URI. Never with credentials. Absent: the library's default."""
    experiment: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Experiment: MLFLOW_EXPERIMENT_NAME. Absent: the library's default."""


class Comet(SpecModel):
    """Comet. Its key comes from `credentials`, as the variable COMET_API_KEY."""

    project: TrackerName | None = None
    """Project: COMET_PROJECT_NAME. Absent: the library's default."""
    workspace: TrackerName | None = None
    """Workspace: COMET_WORKSPACE. Absent: the key's own."""
    mode: TrackerMode | None = None
    """online or offline. offline: an archive below the run's storage, for `comet upload` later; no key is needed.
    Absent: online."""


class TensorBoard(SpecModel):
    """TensorBoard. Its events are written for every run that reports; here they are shown."""

    serve: bool = False
    """True: a Deployment and a Service `<job>-tensorboard`, port 6006, show the events in the job's storage. They are
    kept after the end of the job and go with it."""
    image: Annotated[str, Field(max_length=1024)] = ""
    """Image with Python 3.10 or newer and tensorboard. Empty: `spec.image`."""


class Tracking(SpecModel):
    """Experiment trackers of the job. One that is named, if only by `{}`, gets its variables on every worker, has its
    credentials checked before training begins, and is sent what rank 0 reports."""

    wandb: Wandb | None = None
    """Weights & Biases."""
    mlflow: Mlflow | None = None
    """MLflow."""
    comet: Comet | None = None
    """Comet."""
    tensorboard: TensorBoard = Field(default_factory=TensorBoard)
    """TensorBoard."""
    preflight: bool = True
    """True: credentials and server of each tracker named here are checked on rank 0 before its workers start, in at
    most 10 seconds. Missing credentials end the job; a server that cannot be reached is a warning."""


class TrackingRun(StatusModel):
    """A run in an experiment tracker."""

    kind: Word
    """Tracker: wandb, mlflow, comet or tensorboard."""
    run_id: Word | None = None
    """Id of the run, as the tracker knows it."""
    url: Uri | None = None
    """Its page. Absent: it has none, as offline runs."""
    path: Uri | None = None
    """Where its files lie, when there is no page."""
