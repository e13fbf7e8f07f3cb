"""Names every step of an agent as a point of `crash_points`: of its store, its requests, its messages.

Nothing of the agent is replaced. Its store's methods, the HTTP requests of the S3 client, its messages to the lead and
its answers to the training processes are wrapped.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from paceline.agent.beat import Beat, Orders
from paceline.storage import transfer
from paceline.storage._local import LocalStorage
from paceline.storage._s3 import S3Storage
from tests.support.crash_points import Points, journal, note, syncing

# Operations of a store; `after` is a point of its own only where the store has changed by then.
READS = ("read", "get_file", "files", "directories", "size")
WRITES = ("check", "write", "create_if_absent", "put_file", "delete", "delete_directory")
NO_REQUESTS = ("uri",)
_AUDITED = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "open"}
_PARTIAL = re.compile(r"\.paceline-partial-.*[0-9a-f]{32}$")
_HEX = re.compile(r"[0-9a-f]{32}|(?<=tfevents\.).*")
_operation = threading.local()


def watch(points: Points) -> None:
    """Let this process hit `points`."""
    _watch_store(points)
    _watch_run_files(points)
    _watch_requests(points)
    _watch_messages(points)


# --- the store ---------------------------------------------------------------------------------


def _watch_store(points: Points) -> None:
    events = journal(points.case, points.attempt, f"commits-{points.who}")
    for cls in (LocalStorage, S3Storage):
        for name in (*READS, *WRITES):
            setattr(cls, name, _watched(points, events, name, getattr(cls, name), steps=cls is LocalStorage))
    sys.addaudithook(functools.partial(_audited, points))
    # Files go past the store's methods.
    for name in ("put_file", "get_file"):
        method = getattr(transfer, name)
        setattr(transfer, name, _watched(points, events, name, method, steps=points.plan.store == "local"))
    copy_range, write_at = os.copy_file_range, os.pwrite

    def half(whole: int, offset: int) -> int:
        """How much to copy now, so that there is a moment with half of a file."""
        if offset == 0 and whole > 1:
            return whole // 2
        points.hit(f"{_operation.name}.half")
        return whole

    def copy_half(source: int, target: int, count: int, begin: int, offset: int) -> int:
        return copy_range(source, target, half(count, offset) if _is_inside("put_file") else count, begin, offset)

    def write_half(target: int, data: bytes, offset: int, /) -> int:
        return write_at(target, data[: half(len(data), offset)] if _is_inside("put_file") else data, offset)

    os.copy_file_range = copy_half  # type: ignore[assignment]
    os.pwrite = write_half  # type: ignore[assignment]


def _watch_run_files(points: Points) -> None:
    """Leave a mark between the look at the fence and the end of storing `result.json`: see `syncing`."""
    from paceline.agent import runsync

    mark = syncing(points.case, points.attempt)
    sync, put_file = runsync._sync, transfer.put_file

    def marked_sync(*arguments: Any) -> None:
        mark.touch()
        try:
            sync(*arguments)
        finally:
            mark.unlink(missing_ok=True)

    def unmarking_put(storage: Any, local: Any, path: str, **options: Any) -> Any:
        found = put_file(storage, local, path, **options)
        if path.endswith("/result.json"):
            mark.unlink(missing_ok=True)
        return found

    runsync._sync = marked_sync  # type: ignore[assignment]
    transfer.put_file = unmarking_put


def _is_inside(operation: str) -> bool:
    return str(getattr(_operation, "name", "")).startswith(f"{operation}(")


def _watched(points: Points, events: int, name: str, method: Callable[..., Any], *, steps: bool) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(_operation, "name", ""):
            return method(self, *arguments, **options)  # an operation that is made of others
        path = str(arguments[1] if name == "put_file" else arguments[0])
        label = f"{name}({_relative(points, path)})"
        _operation.name = label if steps else "http"
        try:
            if steps:
                points.hit(f"{label}.before")
            found = method(self, *arguments, **options)
            if name == "files":
                found = list(found)
            if name == "create_if_absent" and found and path.endswith("/.paceline.json"):
                _operation.inside = True
                _committed(points, events, path, arguments[1])
            if steps and name in WRITES:
                points.hit(f"{label}.after")
        finally:
            _operation.name = ""
            _operation.inside = False
        return found

    return call


def _committed(points: Points, events: int, path: str, data: bytes) -> None:
    told = json.loads(data)
    note(events, name=path.split("/")[-2], **{key: told["metrics"].get(key) for key in ("a", "i", "score")})
    (points.case / f"gate-{told['metrics'].get('a')}-{told['metrics'].get('i')}").touch()


def _audited(points: Points, event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _AUDITED:
        return
    label = getattr(_operation, "name", "")
    if not label or label == "http" or getattr(_operation, "inside", False):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
        return
    _operation.inside = True
    try:
        target = os.fspath(arguments[1] if event in ("os.link", "os.rename") else arguments[0])
        name = os.fsdecode(target).rpartition("/")[2]
        name = "partial" if _PARTIAL.match(name) else _HEX.sub("X", name)
        points.hit(f"{label}.{event.removeprefix('os.')}({name})")
    finally:
        _operation.inside = False


def _relative(points: Points, path: str) -> str:
    run = points.plan.run.rstrip("/")
    if path.startswith(run):
        path = path[len(run) :].lstrip("/")
    return _HEX.sub("X", path) or "."


# --- requests ----------------------------------------------------------------------------------


def _watch_requests(points: Points) -> None:
    """Each HTTP request to an S3 server: before it, in its middle, and when it is done but the answer is lost."""
    from botocore.exceptions import ConnectionClosedError
    from botocore.httpsession import URLLib3Session
    from botocore.retries.standard import ExponentialBackoff

    from paceline.storage._http import Connections, NoAnswerError, Slice

    send = URLLib3Session.send

    def watched_send(self: Any, request: Any) -> Any:
        body = request.body
        if hasattr(body, "read"):
            data = body.read()
            body.seek(0)
        else:
            data = body.encode() if isinstance(body, str) else body
        lost = ConnectionClosedError(endpoint_url=request.url)
        return _request(points, request.method, request.url, request.headers, data, lambda: send(self, request), lost)

    URLLib3Session.send = watched_send  # type: ignore[method-assign]
    ExponentialBackoff.delay_amount = lambda self, context: 0.05  # type: ignore[method-assign]
    ask = Connections.request

    def watched_ask(
        self: Connections, method: str, target: str, headers: Mapping[str, str], body: Any = b"", sink: Any = None
    ) -> Any:
        data = os.pread(body.file.fileno(), body.length, body.offset) if isinstance(body, Slice) else body
        url = f"http://{self._address.host_header}{target}"
        told = {"Host": self._address.host_header, **headers}
        lost = NoAnswerError("the answer is lost")
        return _request(points, method, url, told, data, lambda: ask(self, method, target, headers, body, sink), lost)

    Connections.request = watched_ask  # type: ignore[method-assign]


def _request(
    points: Points,
    method: str,
    url: str,
    headers: Mapping[str, Any],
    body: bytes | None,
    send: Callable[[], Any],
    lost: Exception,
) -> Any:
    label = f"{method}({_request_name(points, url)})"
    points.hit(f"{label}.before")
    if body:
        if points.next_fires(f"{label}.half"):
            _send_half(method, url, headers, body)
        if points.hit(f"{label}.half"):
            raise lost
    answer = send()
    if points.hit(f"{label}.lost"):
        # The server did it and died: what comes next is what the client makes of a lost answer.
        raise lost
    return answer


def _send_half(method: str, url: str, headers: Mapping[str, Any], body: bytes) -> None:
    """The head and half of the body; then nothing more comes, since somebody dies."""
    parts = urlsplit(url)
    told = {str(k).lower(): v.decode() if isinstance(v, bytes) else str(v) for k, v in headers.items()}
    told |= {"host": parts.netloc, "content-length": str(len(body))}
    told.pop("expect", None)
    head = [f"{method} {parts.path}?{parts.query} HTTP/1.1", *(f"{k}: {v}" for k, v in told.items())]
    assert parts.hostname
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=5) as sock:
        sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body[: len(body) // 2])
        time.sleep(0.01)


def _request_name(points: Points, url: str) -> str:
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    run = "/" + "/".join(points.plan.run.rstrip("/").rsplit("/", 2)[-2:])
    if "prefix" in query:
        prefix = query["prefix"][0].partition("/")[2].rstrip("/")
        return f"list:{prefix}{'' if 'delimiter' in query else '*'}"
    if "delete" in query:
        return "delete-many"
    if parts.path.strip("/") == run.split("/")[1]:
        return "bucket"  # each case has its own
    return _HEX.sub("X", parts.path.removeprefix(run).lstrip("/"))


# --- messages ----------------------------------------------------------------------------------


def _watch_messages(points: Points) -> None:
    from paceline.agent import staging
    from paceline.agent.channel import Connection
    from paceline.agent.link import HttpLink, LinkDownError

    exchange = HttpLink.exchange

    async def watched(self: HttpLink, beat: Beat) -> Orders:
        # A beat repeats itself until something has changed: the first that tells a fact is a point.
        new = [fact for fact in _facts(beat) if fact not in told]
        told.update(new)
        if "drop" in [points.hit(f"beat({fact}).before") for fact in new]:
            raise LinkDownError("this beat is lost")
        orders = await exchange(self, beat)
        if "drop" in [points.hit(f"beat({fact}).after") for fact in new]:
            raise LinkDownError("the answer to this beat is lost")
        return orders

    told: set[str] = set()
    HttpLink.exchange = watched  # type: ignore[method-assign]

    take = staging.take
    taken: dict[str, int] = {}

    def watched_take(*arguments: Any, **options: Any) -> Any:
        rank = re.search(r"rank(\d+)", str(arguments[1]))
        who = rank[1] if rank else "?"
        points.hit(f"take(rank{who}).before")
        found = take(*arguments, **options)
        taken[who] = taken.get(who, 0) + 1
        points.hit(f"take(rank{who}).after")
        return found

    staging.take = watched_take
    reply = Connection.reply

    def watched_reply(self: Connection, told: dict[str, Any]) -> None:
        if "round" in told:
            points.hit(f"reply(rank{self.rank}).before")
        reply(self, told)
        if "round" in told:
            points.hit(f"reply(rank{self.rank}).after")

    Connection.reply = watched_reply  # type: ignore[method-assign]


def _facts(beat: Beat) -> Iterator[str]:
    """What a beat tells, each so that every run tells it once, however many of them one beat brings together."""
    yield from (f"offer={offer.round}" for offer in beat.offers)
    yield from (f"stored={round_}" for round_, files in beat.stored.items() if files)
    for rank in beat.ranks:
        yield rank.state
        yield from (f"reports={count}" for count in range(1, rank.reports + 1))
    if beat.done:
        yield "done"
