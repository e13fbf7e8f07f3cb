"""`setup_comet`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from paceline import _trackers
from paceline._metrics import flat
from paceline.tracking import _asking, _finishing, _options, _place, _telling
from paceline.tracking._errors import explained
from paceline.tracking._nothing import NOTHING

_KIND = _trackers.COMET


def setup_comet(
    config: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
    workspace: str | None = None,
    mode: Literal["online", "offline"] | None = None,
    api_key: str | None = None,
    per_rank: bool = False,
    preflight: bool = True,
    **experiment_config: Any,
) -> Any:
    """Begin this run at Comet, or go on with it after a restart. Call it on every rank.

        experiment = setup_comet(config, project="digits")
        experiment.log_metric("loss", loss, step=step)

    The experiment's key is made of the id of our run, so that each attempt goes on in the same one. It ends with the
    training function or the process. Offline each attempt that ends leaves an archive below `attempt-<n>` in
    COMET_OFFLINE_DIRECTORY, else in `comet` of the run's directory, where that is a path; `comet upload` brings them,
    in their order, into one experiment. One that is killed leaves none: the library writes it at the end.

    Args:
        config: Logged as parameters, nested ones as `a/b`; None: the trainer's `train_loop_config`.
        project: None: COMET_PROJECT_NAME.
        workspace: None: COMET_WORKSPACE.
        mode: None: as `spec.tracking` says, else online.
        api_key: None: COMET_API_KEY or the library's file, which is where a key belongs.
        per_rank: Every rank has an experiment of its own, all with the same `paceline/run_id`.
        preflight: Ask the server for the key before the library does: a key that is refused is told at once, and a
            server that cannot be reached makes this attempt offline; the library alone would log nothing.
        **experiment_config: For `comet_ml.ExperimentConfig`.
    Returns:
        On rank 0 (with `per_rank` on all) an experiment of the library; else an object that takes every call and does
        nothing.
    Raises:
        ImportError: comet_ml is not installed.
        MissingCredentialsError: There is no key, or the server refuses it.
        ValueError: `mode` is neither.
    """
    place = _place.here()
    if mode not in (None, "online", "offline"):
        raise ValueError(f"setup_comet: mode is {mode!r}: use 'online' or 'offline'")
    if not place.logs(per_rank):
        return NOTHING
    comet_ml = _options.library(_KIND)
    options = _options.of(_KIND)
    online = (mode or options.get("mode") or "online") == "online"
    if online and preflight and _asking.is_unreachable(_KIND, {"apiKey": api_key} if api_key else {}):
        online = False
    key = os.environ.get("COMET_EXPERIMENT_KEY") or place.comet_key(per_rank)
    settings: dict[str, Any] = {"name": place.title(per_rank), **experiment_config}
    if not online:
        settings.setdefault("offline_directory", _directory(place))
    try:
        experiment = comet_ml.start(
            api_key=api_key,
            project_name=project or os.environ.get("COMET_PROJECT_NAME") or options.get("project"),
            workspace=workspace or os.environ.get("COMET_WORKSPACE") or options.get("workspace"),
            experiment_key=key,
            online=online,
            experiment_config=comet_ml.ExperimentConfig(**settings),
        )
    except Exception as e:
        if (ours := explained(_KIND, e)) is not None:
            raise ours from e
        raise
    if given := dict(flat(_place.configuration(config))):
        experiment.log_parameters(given)
    if about := place.about():
        experiment.log_others(about)
    _finishing.add(_KIND, lambda ending: _finish(experiment, ending))
    url = None
    if online:
        with contextlib.suppress(Exception):
            url = experiment.url
    _telling.run(_KIND, str(experiment.get_key()), url=url, path=settings.get("offline_directory"))
    return experiment


def _directory(place: _place.Place) -> str:
    given = os.environ.get("COMET_OFFLINE_DIRECTORY")
    directory = Path(given or (Path(place.shared_directory, "comet") if place.shared_directory else ".cometml-runs"))
    if place.run_id:
        # The library names its archives by Python's random: with a fixed seed the next attempt would write over ours.
        directory /= f"attempt-{place.attempt}"
    directory.mkdir(parents=True, exist_ok=True)
    return str(directory.absolute())


def _finish(experiment: Any, ending: _finishing.Ending) -> None:
    if getattr(experiment, "ended", False):
        return
    if ending != "succeeded":
        experiment.log_other("paceline/state", ending)
    experiment.end()
