"""Callbacks for `RunConfig(callbacks=[...])`: what `report()` tells goes to a tracker, from rank 0.

They name where to; keys come as for a script of one's own, by variables and files. On Kubernetes they become
`spec.tracking`. Metrics are logged in the background: a tracker that is slow or down never holds the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from paceline import _trackers
from paceline.train._callbacks import Callback
from paceline.train._keywords import explained

_KEY = "a key belongs into a variable or a file (spec.credentials), not into code; leave it out"
_HELPER = "call paceline.tracking.{} in the training function for what a callback does not know"


@explained(
    {"api_key": _KEY, "api_key_file": _KEY, "log_config": "the configuration is logged; leave it out"}
    | dict.fromkeys(("group", "name", "tags", "dir", "id"), _HELPER.format("setup_wandb"))
)
@dataclass(frozen=True, slots=True)
class WandbCallback(Callback):
    """Log the metrics of `report()` to Weights & Biases.

    Attributes:
        project: None: WANDB_PROJECT.
        entity: User or team. None: WANDB_ENTITY.
        mode: `online` or `offline`. None: WANDB_MODE, else online.
    """

    kind: ClassVar[str] = _trackers.WANDB
    project: str | None = None
    entity: str | None = None
    mode: Literal["online", "offline"] | None = None

    def __post_init__(self) -> None:
        _check(self)

    def to_spec(self) -> dict[str, Any]:
        """As `spec.tracking.wandb`."""
        return _given(project=self.project, entity=self.entity, mode=self.mode)


@explained(
    {"save_artifact": "checkpoints are logged as references; leave it out", "registry_uri": "set MLFLOW_REGISTRY_URI"}
    | dict.fromkeys(("tags", "run_name"), _HELPER.format("setup_mlflow"))
)
@dataclass(frozen=True, slots=True)
class MLflowCallback(Callback):
    """Log the metrics of `report()` to MLflow.

    Attributes:
        tracking_uri: None: MLFLOW_TRACKING_URI; without that a SQLite file in the run's directory.
        experiment_name: None: MLFLOW_EXPERIMENT_NAME.
    """

    kind: ClassVar[str] = _trackers.MLFLOW
    tracking_uri: str | None = None
    experiment_name: str | None = None

    def __post_init__(self) -> None:
        _check(self)
        if self.tracking_uri and _trackers.has_secret(self.tracking_uri):
            raise ValueError(
                "MLflowCallback.tracking_uri holds a password, which everybody would read in the TrainJob: write the"
                " address alone, and bring MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD as credentials"
            )

    def to_spec(self) -> dict[str, Any]:
        """As `spec.tracking.mlflow`."""
        return _given(trackingUri=self.tracking_uri, experiment=self.experiment_name)


@explained(
    {"api_key": _KEY, "online": "write mode='offline'", "project_name": "write project"}
    | dict.fromkeys(("tags", "experiment_key"), _HELPER.format("setup_comet"))
)
@dataclass(frozen=True, slots=True)
class CometCallback(Callback):
    """Log the metrics of `report()` to Comet.

    Attributes:
        project: None: COMET_PROJECT_NAME.
        workspace: None: COMET_WORKSPACE.
        mode: `online` or `offline`. None: online.
    """

    kind: ClassVar[str] = _trackers.COMET
    project: str | None = None
    workspace: str | None = None
    mode: Literal["online", "offline"] | None = None

    def __post_init__(self) -> None:
        _check(self)

    def to_spec(self) -> dict[str, Any]:
        """As `spec.tracking.comet`."""
        return _given(project=self.project, workspace=self.workspace, mode=self.mode)


@explained({"logdir": "the events lie in the run's directory; leave it out"})
@dataclass(frozen=True, slots=True)
class TensorBoardCallback(Callback):
    """TensorBoard's events of a run, which are written for every run, with or without this.

    Attributes:
        serve: On Kubernetes, start a TensorBoard for the run: a Deployment and a Service `<job>-tensorboard`.
    """

    kind: ClassVar[str] = _trackers.TENSORBOARD
    serve: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.serve, bool):
            raise TypeError(f"TensorBoardCallback.serve is {self.serve!r}: pass True or False")

    def to_spec(self) -> dict[str, Any]:
        """As `spec.tracking.tensorboard`."""
        return {"serve": self.serve} if self.serve else {}


def _given(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check(callback: Any) -> None:
    name = type(callback).__name__
    for attribute in callback.__dataclass_fields__:
        value = getattr(callback, attribute)
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name}.{attribute} is a {type(value).__name__}: pass a text")
        if not value.strip():
            raise ValueError(f"{name}.{attribute} is empty: leave it out for the default")
        if attribute == "mode" and value not in ("online", "offline"):
            raise ValueError(f"{name}.mode is {value!r}: use 'online' or 'offline'")
