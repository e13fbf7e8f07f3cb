"""`report` and `get_checkpoint`, and the hook that tells the agent why this process ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
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


def report(metrics: Mapping[str, Any], checkpoint: Checkpoint | None = None) -> None:
    """Tell the metrics, and optionally a checkpoint, of this step. Call it on every rank, equally often.

    Rank 0's metrics are the result. Metrics alone cost microseconds and are not lost even if this process is killed
    right after. With a checkpoint the call returns when the agent owns the files, before they are uploaded: the
    directory may then be deleted. Ranks that give files with the same report make one checkpoint together; of a file
    that several give, the lowest rank's is kept. A report with a checkpoint waits for the same report of all ranks
    before it becomes visible.

    Outside a worker the metrics are checked and dropped, and a checkpoint is not stored (said once on stderr).

    Args:
        metrics: Numbers, strings, bools, lists and dicts; numpy scalars are converted.
        checkpoint: Made by `Checkpoint.from_directory` from a local directory. Give every report a directory of its
            own, such as a `tempfile.TemporaryDirectory`: a file that is overwritten before it is stored is dropped.
    Raises:
        TypeError: A metric cannot be reported (a tensor, for instance: call `.item()`).
        ValueError: The checkpoint's directory is missing, or not local.
        RuntimeError: The run has no storage for checkpoints, or the agent is gone.
    """
    line = f'{{"t":"r","w":{time():.3f},"m":{encode(metrics)}'
    client = _client.client()
    if checkpoint is not None:
        _report_checkpoint(client, line, checkpoint)
    elif client is not None:
        client.send(line + "}")


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint that this attempt resumes from, the same on every rank; None at the first start.

    After a restart it is the latest committed one of the run. Outside a worker: None.
    """
    told = os.environ.get(c.RESUMED_CHECKPOINT)
    if not told:
        return None
    from paceline.train._checkpoint import Checkpoint

    return Checkpoint(json.loads(told)["path"])


def _report_checkpoint(client: _client.Client | None, line: str, checkpoint: Checkpoint) -> None:
    from paceline.train import _handover

    source = _handover.local_directory(checkpoint)
    if client is None:
        _say_once("this process is not a worker of a Paceline run: reported checkpoints are not stored")
        return
    staged = _handover.stage(source)
    answer = client.ask(f'{line},"c":{json.dumps(str(staged))}}}')
    if "error" in answer:
        raise RuntimeError(answer["error"])


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
