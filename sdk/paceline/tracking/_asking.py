"""One request to a tracker's server: does it answer, and does it know the key? Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO, Any, Final

from paceline import _contract as c
from paceline import _trackers
from paceline.tracking import _credentials, _options
from paceline.tracking._credentials import Access

UNREACHABLE: Final = "Unreachable"
_MOST_S = 8.0
_WORDS = 300  # characters of an answer that are shown
_ANSWER_BYTES = 64 * 1024
_OTHER_HOST = b"Invalid Host header"


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a tracker from working.

    Attributes:
        kind: Of the tracker.
        reason: `MissingCredentials`: another attempt ends in the same way. Anything else is a warning.
        message: For people; no secrets.
    """

    kind: str
    reason: str
    message: str

    @property
    def is_fatal(self) -> bool:
        """Whether the run should not begin."""
        return self.reason == c.REASON_CREDENTIALS


def problem(kind: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> Problem | None:
    """Look at one tracker, for 8 s at most; None: all is well, or there is nothing to look at.

    Args:
        options: Its part of `PACELINE_TRACKING`.
        environ: Of the worker.
    """
    found = _credentials.access(kind, options, environ)
    if found is None:
        return None
    if found.missing:
        return Problem(kind, c.REASON_CREDENTIALS, _trackers.sentence(found.about, found.missing))
    answer: list[Problem | None] = []
    # In a thread: no timeout of a socket holds for the look-up of a name.
    work = threading.Thread(target=lambda: answer.append(_ask(found)), daemon=True)
    work.start()
    work.join(_MOST_S)
    return answer[0] if answer else _unreachable(found, f"no answer within {_MOST_S:g} s")


def is_unreachable(kind: str, options: Mapping[str, Any] | None = None) -> bool:
    """Look before a helper calls the library. A server that cannot be reached is told as a warning.

    What is missing altogether is left to the library to say, which may know other places.

    Args:
        options: What the code says itself, over `PACELINE_TRACKING`.
    Raises:
        MissingCredentialsError: The server refuses the key.
    """
    if _trackers.is_preflight_off(os.environ):
        return False
    with contextlib.suppress(ValueError):
        if _options.read().get("preflight") is False:
            return False
    given = {**_options.of(kind), **(options or {})}
    found = _credentials.access(kind, given, os.environ)
    if found is None or found.missing:
        return False
    told = problem(kind, given, os.environ)
    if told is None:
        return False
    if told.is_fatal:
        from paceline.tracking._errors import MissingCredentialsError

        raise MissingCredentialsError(kind, told.message)
    from paceline.tracking import _telling

    _options.say(f"warning: {told.message}")
    _telling.problem(kind, told.reason, told.message)
    return True


def _ask(found: Access) -> Problem | None:
    request = urllib.request.Request(found.url, data=found.data, headers=dict(found.headers))
    try:
        with _opener(found.verify).open(request, timeout=_MOST_S) as answer:
            return _judge(found, 200, answer.read(_ANSWER_BYTES))
    except urllib.error.HTTPError as e:
        with e:
            return _judge(found, e.code, _body(e))
    except urllib.error.URLError as e:
        return _unreachable(found, str(e.reason))
    except (OSError, HTTPException, ValueError) as e:
        return _unreachable(found, str(e) or type(e).__name__)


def _judge(found: Access, status: int, body: bytes) -> Problem | None:
    if status == 403 and found.kind == _trackers.MLFLOW and body.startswith(_OTHER_HOST):
        # MLflow since 3.5; no key would help.
        why = f"{_words(body)}; start the server with --allowed-hosts and the name in this address"
        return _unreachable(found, why)
    if status in (401, 403):
        return _refused(found, f"answered {status}: {_words(body)}")
    if status >= 500:
        return _unreachable(found, f"it answered {status}")
    if found.kind == _trackers.WANDB and found.data and status == 200:
        # The public server answers 200 to a key that nobody has.
        with contextlib.suppress(ValueError, AttributeError):
            if json.loads(body).get("data", {}).get("viewer", ...) is None:
                return _refused(found, "does not know the API key")
    return None


def _refused(found: Access, how: str) -> Problem:
    said = f"{_trackers.NAMES[found.kind]} ({_host(found)}) {how}"
    return Problem(found.kind, c.REASON_CREDENTIALS, _trackers.sentence(found.about, _clean(found, said)))


def _unreachable(found: Access, why: str) -> Problem:
    said = f"{_trackers.NAMES[found.kind]} cannot be reached at {_host(found)} ({why}); training goes on"
    return Problem(found.kind, UNREACHABLE, _clean(found, said))


def _host(found: Access) -> str:
    return _trackers.without_secrets(found.url).partition("/api/")[0].removesuffix("/graphql")


def _clean(found: Access, text: str) -> str:
    """Servers repeat what they were sent."""
    for secret in found.secrets:
        text = text.replace(secret, "***")
    return text


def _words(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if isinstance(told, dict):
        text = str(next((told[key] for key in ("message", "msg", "error", "errors") if told.get(key)), text))
    if text.lstrip().startswith("<"):
        return "a page of HTML"  # a proxy's
    return " ".join(text.split())[:_WORDS] or "without a word"


def _body(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_ANSWER_BYTES)
    except (OSError, HTTPException):
        return b""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for one server; another that it points to does not get it."""

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _opener(verify: bool) -> urllib.request.OpenerDirector:
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle if bundle and os.path.isfile(bundle) else None)  # noqa: PTH113
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
