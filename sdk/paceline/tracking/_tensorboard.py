"""`tensorboard_writer`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from paceline import _trackers
from paceline.tracking import _finishing, _options, _place, _telling
from paceline.tracking._nothing import NOTHING
from paceline.tracking._place import Place

_KIND = _trackers.TENSORBOARD
_DIRECTORY = "tensorboard"


def tensorboard_writer(
    log_dir: str | os.PathLike[str] | None = None, *, per_rank: bool = False, **writer_kwargs: Any
) -> Any:
    """Open a `SummaryWriter` for this run. Call it on every rank.

        writer = tensorboard_writer()
        writer.add_scalar("loss", loss, step)

    What `report()` tells is in TensorBoard's files of every run without it; this is for images, histograms, graphs.
    Each attempt writes a file of its own; where it goes on from a checkpoint, TensorBoard shows of the attempts before
    what was logged up to its step (`purge_step`). The file is closed when the training function or the process ends.

    Args:
        log_dir: A directory. None: `tensorboard` in the run's directory, where that is a path; else in the working
            directory, from where artifacts are synced.
        per_rank: Every rank writes, into `rank-<n>` below the directory.
        **writer_kwargs: For `SummaryWriter`.
    Returns:
        On rank 0 (with `per_rank` on all) a `torch.utils.tensorboard.SummaryWriter`, without torch one of tensorboardX;
        else an object that takes every call and does nothing.
    Raises:
        ImportError: Neither is installed.
    """
    place = _place.here()
    if not place.logs(per_rank):
        return NOTHING
    directory = Path(log_dir) if log_dir is not None else Path(place.shared_directory or ".", _DIRECTORY)
    if per_rank:
        directory /= f"rank-{place.rank}"
    directory.mkdir(parents=True, exist_ok=True)
    writer = _kind_of_writer()(str(directory), **{"purge_step": purge_step(place), **writer_kwargs})
    _finishing.add(_KIND, lambda ending: writer.close())
    _telling.run(_KIND, place.id(per_rank) or directory.name, path=str(directory.absolute()))
    return writer


def purge_step(place: Place) -> int | None:
    """The first step that this attempt makes again; None: there was no attempt before."""
    if place.attempt == 0:
        return None
    return 0 if place.resumed_step is None else place.resumed_step + 1


def _kind_of_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        try:
            from tensorboardX import SummaryWriter  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError:
            raise ImportError(
                f"tensorboard_writer needs torch and tensorboard, or tensorboardX. {_options.missing(_KIND)}; with"
                " TensorFlow alone use tf.summary, on rank 0"
            ) from None
    return SummaryWriter
