"""`setup_mlflow`."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline import _trackers
from paceline._metrics import flat
from paceline.tracking import _asking, _finishing, _options, _place, _telling
from paceline.tracking._errors import explained
from paceline.tracking._nothing import NOTHING
from paceline.tracking._place import Place

_KIND = _trackers.MLFLOW
RUN_ID_TAG = "paceline.run_id"
_RANK_TAG = "paceline.rank"
_STATES = {"succeeded": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_PARAMS_AT_ONCE = 100  # more the server refuses in one request


def setup_mlflow(
    config: Mapping[str, Any] | None = None,
    *,
    tracking_uri: str | None = None,
    experiment_name: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    per_rank: bool = False,
    preflight: bool = True,
    tags: Mapping[str, Any] | None = None,
    **start_kwargs: Any,
) -> Any:
    """Begin this run at MLflow, or go on with it after a restart. Call it on every rank.

        mlflow = setup_mlflow(config, tracking_uri="http://mlflow:5000", experiment_name="digits")
        mlflow.log_metrics({"loss": loss}, step=step)

    The first attempt tags its run with the id of ours; later ones find it by that and go on in it. The run is active
    when this returns, and ends with the training function or the process: `FINISHED`, `FAILED` after an exception,
    `KILLED` by SIGTERM.

    Args:
        config: Logged as parameters, nested ones as `a/b`; None: the trainer's `train_loop_config`. A parameter that an
            earlier attempt has logged with another value keeps the first.
        tracking_uri: `http(s)://`, `sqlite:///`, `databricks` ... None: MLFLOW_TRACKING_URI; without that a
            SQLite file in the run's directory, where that is a path.
        experiment_name: Made where it is not there. None: MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, else
            the library's default.
        artifact_location: Where the artifacts of an experiment that is made here lie: a path, or `s3://bucket/prefix`,
            for which the worker needs boto3 and credentials. It changes nothing of an experiment that is there already.
            None: as the server has it; beside the SQLite file in the run's directory.
        run_name: None: the name of the run.
        per_rank: Every rank has a run of its own, all with the same tag `paceline.run_id`.
        preflight: Ask the server before the library does, which repeats its requests for minutes.
        tags: Of the run.
        **start_kwargs: For `mlflow.start_run`.
    Returns:
        On rank 0 (with `per_rank` on all) the module `mlflow`; else an object that takes every call and does nothing.
    Raises:
        ImportError: mlflow is not installed.
        MissingCredentialsError: The server refuses who asks, or Databricks is not configured.
    """
    place = _place.here()
    if not place.logs(per_rank):
        return NOTHING
    mlflow = _options.library(_KIND)
    options = _options.of(_KIND)
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or options.get("trackingUri")
    if preflight and uri:
        _asking.is_unreachable(_KIND, {"uri": uri})
    own_store = None if uri else _own_store(place)
    try:
        if uri or own_store:
            mlflow.set_tracking_uri(uri or own_store)
        name = experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or options.get("experiment")
        experiment = _experiment(mlflow, name, place if own_store else None, artifact_location)
        run = _start(mlflow, place, experiment, per_rank, run_name, dict(tags or {}), start_kwargs)
        _log_params(mlflow, run, _place.configuration(config))
    except Exception as e:
        if (ours := explained(_KIND, e)) is not None:
            raise ours from e
        raise
    run_id, begun_in = run.info.run_id, threading.get_ident()
    _finishing.add(_KIND, lambda ending: _finish(mlflow, run_id, begun_in, _STATES[ending]))
    store = mlflow.get_tracking_uri()
    _telling.run(_KIND, run_id, url=_url(store, run), path=store)
    return mlflow


def _own_store(place: Place) -> str | None:
    """Where nothing names a store: the library would write into the working directory, which a pod takes with it."""
    if not place.shared_directory:
        if place.run_id:
            _options.say(
                "warning: nothing says where MLflow's runs are kept (MLFLOW_TRACKING_URI, setup_mlflow(tracking_uri=)):"
                " they lie in the working directory of rank 0, and end with its pod"
            )
        return None
    directory = Path(place.shared_directory)
    directory.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{directory / 'mlflow.db'}"


def _experiment(mlflow: Any, name: str | None, own: Place | None, artifacts: str | None) -> str:
    """Its id."""
    if own is not None:
        # Beside the run's other files; the library's default lies in the working directory.
        name = name or own.name
        artifacts = artifacts or Path(own.shared_directory, "mlartifacts").as_uri()
    if name and artifacts and mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=artifacts)
    if name:
        return str(mlflow.set_experiment(name).experiment_id)
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"


def _start(
    mlflow: Any,
    place: Place,
    experiment: str,
    per_rank: bool,
    run_name: str | None,
    tags: dict[str, Any],
    start_kwargs: dict[str, Any],
) -> Any:
    own = {key.replace("/", "."): str(value) for key, value in place.about().items()}
    if per_rank:
        own[_RANK_TAG] = str(place.rank)
    found = _find(mlflow, experiment, own) if place.run_id and "run_id" not in start_kwargs else None
    if found is not None:
        run = mlflow.start_run(run_id=found, **start_kwargs)
        if tags:
            mlflow.set_tags(tags)
        return run
    name = run_name or os.environ.get("MLFLOW_RUN_NAME") or place.title(per_rank)
    given = {"run_name": name, "experiment_id": experiment, "tags": {**own, **tags}} | start_kwargs
    if "run_id" in given:  # the user's own: it is in an experiment already
        del given["experiment_id"], given["run_name"]
    return mlflow.start_run(**given)


def _find(mlflow: Any, experiment: str, own: Mapping[str, str]) -> str | None:
    wanted = [f"tags.`{RUN_ID_TAG}` = '{own[RUN_ID_TAG]}'"]
    if _RANK_TAG in own:
        wanted.append(f"tags.`{_RANK_TAG}` = '{own[_RANK_TAG]}'")
    found = mlflow.MlflowClient().search_runs(
        [experiment], filter_string=" and ".join(wanted), max_results=1, order_by=["attributes.start_time ASC"]
    )
    return str(found[0].info.run_id) if found else None


def _log_params(mlflow: Any, run: Any, config: Mapping[str, Any]) -> None:
    """Parameters cannot be changed: what is there already stays."""
    known = run.data.params
    params = {name_of(name): value for name, value in flat(config)}
    new = [(name, value) for name, value in params.items() if name not in known]
    for begin in range(0, len(new), _PARAMS_AT_ONCE):
        mlflow.log_params(dict(new[begin : begin + _PARAMS_AT_ONCE]))


def name_of(name: str) -> str:
    """A name of a metric or parameter as the server takes it."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _url(store: str, run: Any) -> str | None:
    if not store.startswith(("http://", "https://")):
        return None
    base = store.rstrip("/")
    return f"{base}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _finish(mlflow: Any, run_id: str, begun_in: int, state: str) -> None:
    with contextlib.suppress(Exception):
        mlflow.flush_async_logging()
    if threading.get_ident() != begun_in:
        # Which run is active is known to its own thread alone.
        mlflow.MlflowClient().set_terminated(run_id, state)
        return
    active = mlflow.active_run()
    if active is not None and active.info.run_id == run_id:
        mlflow.end_run(state)
