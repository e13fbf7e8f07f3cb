"""`report` and `get_checkpoint`, and the hook that tells the agent why this process ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from time import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from paceline import _contract as c
from paceline._metrics import encode
from paceline.train import _client

if TYPE_CHECKING:
    from paceline.train._checkpoint import Checkpoint

_TEXT_LIMIT = 16_000
_said: set[str] = set()
_newest: Mapping[str, Any] | None = None  # commit that this process has waited for
_last_line = ""  # of the last report, without its end
_last_round: int | None = None  # of the last report with a checkpoint
_follow: Callable[[str, int | None], None] | None = None  # told every report, for the trackers of spec.tracking
train_loop_config: Mapping[str, Any] | None = None  # of the trainer whose worker this is; trackers log it


def report(
    metrics: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
    *,
    checkpoint_dir_name: str | None = None,
    wait: bool = False,
    checkpoint_upload_fn: Callable[[Checkpoint, str], Checkpoint] | None = None,
) -> None:
    """Tell the metrics, and optionally a checkpoint, of this step. Call it on every rank, equally often.

    Rank 0's metrics are the result. Metrics alone cost microseconds and are not lost even if this process is killed
    right after. With a checkpoint the call returns when the agent owns the files, before they are uploaded: the
    directory may then be deleted. Ranks that give files with the same report make one checkpoint together; of a file
    that several give, the lowest rank's is kept. A report with a checkpoint waits for the same report of all ranks
    before it becomes visible.

    When the store is slower than the training, a report with a checkpoint is held until one of those that wait
    (`maxPending`, 2) is stored; when the disk is full, until there is space again.

    Outside a worker the metrics are checked and dropped, and a checkpoint is not stored (said once on stderr).

    Args:
        metrics: Numbers, strings, bools, lists and dicts; numpy scalars are converted.
        checkpoint: Made by `Checkpoint.from_directory` from a local directory. Give every report a directory of its
            own, such as a `tempfile.TemporaryDirectory`: a file that is overwritten before it is stored is dropped.
        checkpoint_dir_name: Name of its directory in the run's directory, instead of `checkpoint_000012`: letters,
            digits and `. _ = -`. The same on every rank, and never the same twice in a run.
        wait: Return when the checkpoint is committed, and raise with the reason when it cannot be.
        checkpoint_upload_fn: Stores the files itself, and holds the training meanwhile: called with the checkpoint
            and a name for it, it returns a `Checkpoint` of where they are. That is recorded; Paceline neither moves
            nor ever deletes those files.
    Raises:
        TypeError: A metric cannot be reported (a tensor, for instance: call `.item()`).
        ValueError: The checkpoint's directory is missing, not local, or holds a link that leads out of it; or the
            name cannot be a directory's.
        OSError: The disk is full, and nothing waits there that would come free.
        RuntimeError: The run has no storage for checkpoints, the checkpoint was dropped (`wait`), or the agent is gone.
    """
    global _last_line
    line = _last_line = f'{{"t":"r","w":{time():.3f},"m":{encode(metrics)}'
    client = _client.client()
    if checkpoint is not None:
        _report_checkpoint(client, line, checkpoint, checkpoint_dir_name, wait, checkpoint_upload_fn)
    elif client is not None:
        client.send(line + "}")
    if _follow is not None:
        _follow(line, None if checkpoint is None else _last_round)


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from: the one that this attempt resumed from; None at the first start.

    After a restart that is the latest committed one of the run, the same on every rank. Once a `report(..., wait=True)`
    of this process has returned, it is the checkpoint of that report. One that was reported without waiting is not
    given: it may not exist yet, and each rank would see another. Outside a worker: None.
    """
    told = _newest or json.loads(os.environ.get(c.RESUMED_CHECKPOINT) or "null")
    if told is None:
        return None
    # Where the user's own function stored the files, each rank has its own place.
    path = told.get("external", {}).get(os.environ.get(c.RANK, "0"), told["path"])
    from paceline.train._checkpoint import of_run

    return of_run(path)


def _report_checkpoint(
    client: _client.Client | None,
    line: str,
    checkpoint: Checkpoint,
    name: str | None,
    wait: bool,
    upload: Callable[[Checkpoint, str], Checkpoint] | None,
) -> None:
    global _last_round
    from paceline.train import _handover

    source = _handover.local_directory(checkpoint)
    if name is not None:
        _handover.check_name(name)
    if client is None:
        _say_once("this process is not a worker of a Paceline run: reported checkpoints are not stored")
        return
    given = _handover.admit(client, name, named=upload is not None)
    if upload is not None:
        gives = {"x": _handover.uploaded(upload, checkpoint, given)}
    else:
        gives = {"c": str(_handover.stage(source, freed=lambda: _handover.wait_for_space(client)))}
    if name is not None:
        gives["n"] = name
    _last_round = _handover.checked(client.ask(f"{line},{json.dumps(gives)[1:]}"))["round"]
    if wait:
        wait_for_commit()


def last_metrics() -> dict[str, Any] | None:
    """The metrics of this process's last report, as they were sent; None before the first."""
    if not _last_line:
        return None
    sent: dict[str, Any] = json.loads(_last_line + "}")["m"]
    return sent


def wait_for_commit() -> None:
    """Return when the last checkpoint that this process reported is committed, at once where it reported none.

    Raises:
        RuntimeError: It was dropped, with the reason.
    """
    global _newest
    client = _client.client()
    if client is None or _last_round is None:
        return
    from paceline.train import _handover

    _newest = _handover.checked(client.request({"t": "settled", "round": _last_round}))["commit"]


def forget() -> None:
    """This process is another worker from now on, or none."""
    global _newest, _last_line, _last_round, _follow, train_loop_config
    _newest, _last_line, _last_round, train_loop_config = None, "", None, None
    _follow = _first_follow()


def _begin_to_follow(line: str, round_: int | None) -> None:
    """Trackers begin with the first report: by then the script has imported what it needs."""
    global _follow
    _follow = None
    # By its name: that package stands above this one.
    follower = import_module("paceline.tracking._background").begin()
    if follower is not None:
        _follow = follower.report
        follower.report(line, round_)


def _first_follow() -> Callable[[str, int | None], None] | None:
    tracked = os.environ.get(c.TRACKING) and os.environ.get(c.AGENT_SOCKET) and os.environ.get(c.RANK, "0") == "0"
    return _begin_to_follow if tracked else None


def _after_fork() -> None:
    """The threads that log are the parent's."""
    global _follow
    _follow = None


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        print(f"[paceline] {text}", file=sys.stderr)  # noqa: T201


def _tell_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, then: Any = None
) -> None:
    """Send type, message and traceback to the agent, then do what was done before."""
    try:
        client = _client.client()
        if client is not None and issubclass(kind, Exception):
            import traceback

            text = "".join(traceback.format_exception(kind, error, trace))
            told = {
                "t": "exception",
                "type": kind.__name__,
                "message": str(error)[:_TEXT_LIMIT],
                "traceback": text[-_TEXT_LIMIT:],
            }
            client.send(json.dumps(told))
    except Exception:
        pass
    (then or sys.__excepthook__)(kind, error, trace)


def _install() -> None:
    if not os.environ.get(c.AGENT_SOCKET) or getattr(sys.excepthook, "_paceline", False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _tell_exception(kind, error, trace, before)

    hook._paceline = True  # type: ignore[attr-defined]
    sys.excepthook = hook


_install()
_follow = _first_follow()
os.register_at_fork(after_in_child=_after_fork)
