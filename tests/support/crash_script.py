"""The training script of a crash case, and the bytes that it writes: anybody can compute them again.

Started by the agent (`crash_workers`). Report i of attempt a gives files whose content is a function of
(a, i, rank, name), so that a reader can tell a damaged, a mixed or a foreign file from the right one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

REPORTS = {0: 5, 1: 3, 2: 3}  # attempt -> reports
METRICS_ONLY = {0: 2, 1: 1, 2: 1}  # attempt -> the report of it that has no checkpoint
# Retention keeps the best two and the latest: in attempt 0 it deletes the second checkpoint and the third, later more.
SCORES = {0: (5.0, 1.0, 0.0, 3.0, 4.0), 1: (2.0, 0.0, 6.0), 2: (7.0, 0.0, 1.0)}
KEEP = 2
_GATE_S = 30.0
_POLL_S = 0.003


def names(rank: int) -> tuple[str, ...]:
    """Files that a rank gives: its shard, one that all give, and one in a folder."""
    return ("common", f"shard-{rank}", "sub/extra") if rank else ("common", f"shard-{rank}")


def content(attempt: int, i: int, rank: int, name: str) -> bytes:
    """A file's bytes; the first line tells what it is."""
    # What all ranks give is the same on all, as a configuration would be.
    head = f"{attempt} {i} {0 if name == 'common' else rank} {name}\n"
    return head.encode() * (40 + 7 * i + rank * (name != "common"))


def expected(attempt: int, i: int, ranks: int) -> dict[str, bytes]:
    """The files of a whole checkpoint."""
    return {name: content(attempt, i, rank, name) for rank in reversed(range(ranks)) for name in names(rank)}


def directory(form: str, i: int) -> str:
    """What the checkpoint of report `i` is called, where it is not the number's; in the order of the reports."""
    return f"step={i:06d}" if form == "named" else ""


def metrics(attempt: int, start: int, k: int) -> dict[str, Any]:
    """What report `k` of an attempt tells, whose first report is number `start` of the run."""
    return {"step": start + k + 1, "i": start + k, "a": attempt, "k": k, "score": SCORES[attempt][k]}


def main() -> None:
    """Train."""
    import tempfile
    import time

    from paceline import train
    from tests.support import crash_broken_worker
    from tests.support.crash_points import CASE, Points, journal, note

    case, attempt = Path(os.environ[CASE]), int(os.environ["PACELINE_ATTEMPT"])
    rank = int(os.environ["RANK"])
    points = Points(case, f"rank{rank}", attempt)
    form, waits = points.plan.form, points.plan.form == "named"
    crash_broken_worker.install(points.plan.broken)
    said = journal(case, attempt, f"rank{rank}")
    current = _instrument(points)

    start = 0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as copy:
            root = Path(copy)
            found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        found.pop(".paceline.json", None)
        head = found.get("common", b"-1 -1 ").split(b" ", 2)
        wrong = [n for n, data in expected(int(head[0]), int(head[1]), 2).items() if found.pop(n, None) != data]
        note(said, t="resumed", path=checkpoint.path, a=int(head[0]), i=int(head[1]), wrong=wrong, extra=sorted(found))
        start = int(head[1]) + 1

    given: list[int] = []
    for k in range(REPORTS[attempt]):
        i = start + k
        has_files = k != METRICS_ONLY[attempt]
        # One checkpoint may be on its way while the next is reported, as in a training loop.
        end = time.monotonic() + _GATE_S
        while has_files and given[:-1] and not (case / f"gate-{attempt}-{given[-2]}").exists():
            if time.monotonic() > end:
                raise SystemExit(f"rank {rank}: checkpoint of report {given[-2]} was never committed")
            time.sleep(_POLL_S)
        note(said, t="begin", i=i, k=k, start=start, files=has_files)
        current[0] = f"report{k}"
        points.hit(f"report{k}.begin")
        if has_files:
            with tempfile.TemporaryDirectory() as files:
                for name in names(rank):
                    path = Path(files, name)
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content(attempt, i, rank, name))
                train.report(
                    metrics(attempt, start, k),
                    checkpoint=train.Checkpoint.from_directory(files),
                    checkpoint_dir_name=directory(form, i) or None,
                    wait=waits,
                )
            given.append(i)
        else:
            train.report(metrics(attempt, start, k))
        note(said, t="returned", i=i, k=k, start=start, files=has_files, waited=waits)
        points.hit(f"report{k}.returned")
        current[0] = ""
    end = time.monotonic() + _GATE_S
    while given and not (case / f"gate-{attempt}-{given[-1 if rank == 0 else -2]}").exists():
        # Rank 0 lives until all is committed, rank 1 ends while its last files are on their way.
        if time.monotonic() > end:
            raise SystemExit(f"rank {rank}: the last checkpoints were never committed")
        time.sleep(_POLL_S)


def _instrument(points: Any) -> list[str]:
    """Points at the system calls of a hand-over. The list holds the report that is being made."""
    import socket

    current = [""]
    staging = os.environ["PACELINE_STAGING"]

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if not current[0] or event not in ("os.mkdir", "os.link", "shutil.copyfile"):
            return
        path = str(arguments[1] if event != "os.mkdir" else arguments[0])
        if path.startswith(staging):
            # Below staging: <rank and number>/<name of the file>.
            name = path[len(staging) + 1 :].partition("/")[2]
            points.hit(f"{current[0]}.{event.rpartition('.')[2]}({name})")

    class Socket(socket.socket):
        def sendall(self, data: Any, flags: int = 0, /) -> None:
            if current[0]:
                points.hit(f"{current[0]}.send")
            super().sendall(data, flags)
            if current[0]:
                points.hit(f"{current[0]}.sent")

        def recv(self, size: int, flags: int = 0, /) -> bytes:
            data = super().recv(size, flags)
            if current[0]:
                points.hit(f"{current[0]}.answered")
            return data

    sys.addaudithook(audited)
    socket.socket = Socket  # type: ignore[misc]
    return current
