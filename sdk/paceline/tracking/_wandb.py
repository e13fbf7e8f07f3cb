"""`setup_wandb`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline import _trackers
from paceline.tracking import _asking, _finishing, _options, _place, _telling
from paceline.tracking._errors import explained
from paceline.tracking._nothing import NOTHING

_KIND = _trackers.WANDB
# What the library takes from its variables when the argument is not given; ours must not hide them.
_VARIABLES = {
    "id": "WANDB_RUN_ID",
    "resume": "WANDB_RESUME",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "dir": "WANDB_DIR",
}
_TERMINATED = 143


def setup_wandb(
    config: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    per_rank: bool = False,
    preflight: bool = True,
    **init_kwargs: Any,
) -> Any:
    """Begin this run at Weights & Biases, or go on with it after a restart. Call it on every rank.

        run = setup_wandb(config, project="digits")
        run.log({"loss": loss})

    The run has the id of ours (`get_trial_id()`) and `resume="allow"`, so all attempts are one. It is finished when the
    training function or the process ends: as failed after an exception, as preempted by SIGTERM. Offline
    (`mode="offline"`, WANDB_MODE) its files lie in the run's directory, where that is a path, else where the library
    puts them; `wandb sync` uploads them. Outside of a run it is `wandb.init` with a finish.

    Args:
        config: Logged with the run; None: the trainer's `train_loop_config`. The storage path of the run goes along.
        project: None: WANDB_PROJECT.
        entity: User or team. None: WANDB_ENTITY.
        group: None: none; with `per_rank` the id of the run.
        per_rank: Every rank has a run of its own, all in one group.
        preflight: Ask the server for the key before the library does: a key that is refused is told at once, and a
            server that cannot be reached makes this attempt offline, instead of an error after a minute.
        **init_kwargs: For `wandb.init`, over what is said here.
    Returns:
        On rank 0 (with `per_rank` on all) a `wandb.Run`; else an object that takes every call and does nothing.
    Raises:
        ImportError: wandb is not installed.
        MissingCredentialsError: There is no key, or the server refuses it.
    """
    place = _place.here()
    if not place.logs(per_rank):
        return NOTHING
    wandb = _options.library(_KIND)
    given: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "group": group or (place.run_id if per_rank else None),
        "id": place.id(per_rank),
        "resume": "allow" if place.run_id else None,
        "name": place.title(per_rank),
    }
    given = {name: value for name, value in given.items() if value and not _said_by_variable(name, os.environ)}
    given |= init_kwargs
    if not isinstance(init_kwargs.get("config"), str):  # a file's name is the library's own matter
        given["config"] = {**_place.configuration(config), **place.about(), **init_kwargs.get("config", {})}
    if preflight and _is_online(given) and _asking.is_unreachable(_KIND):
        given["mode"] = "offline"
    if not _is_online(given) and "dir" not in given and place.shared_directory and "WANDB_DIR" not in os.environ:
        Path(place.shared_directory).mkdir(parents=True, exist_ok=True)
        given["dir"] = place.shared_directory
    try:
        run = wandb.init(**given)
    except Exception as e:
        if (ours := explained(_KIND, e)) is not None:
            raise ours from e
        raise
    _finishing.add(_KIND, lambda ending: _finish(run, ending))
    _telling.run(_KIND, str(run.id), url=run.url, path=_directory(run))
    return run


def _said_by_variable(name: str, environ: Mapping[str, str]) -> bool:
    return name in _VARIABLES and bool(environ.get(_VARIABLES[name]))


def _is_online(given: Mapping[str, Any]) -> bool:
    mode = given.get("mode") or os.environ.get("WANDB_MODE") or _options.of(_KIND).get("mode") or "online"
    return mode in ("online", "shared")


def _directory(run: Any) -> str | None:
    """Where the files of an offline run lie: what `wandb sync` takes."""
    with contextlib.suppress(Exception):
        return str(Path(run.settings.sync_dir).absolute())
    return None


def _finish(run: Any, ending: _finishing.Ending) -> None:
    if ending == "stopped":
        # The server shows `preempted`, and the next attempt goes on.
        with contextlib.suppress(Exception):
            run.mark_preempting()
        run.finish(exit_code=_TERMINATED)
    elif ending == "failed":
        run.finish(exit_code=1)
    else:
        run.finish()  # the library has its own eye on the exit code
