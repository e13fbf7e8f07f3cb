"""This process is a worker for a while: `fit(in_process=True)`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from paceline.train import _client, _report, _stop


@contextlib.contextmanager
def worker(environ: Mapping[str, str]) -> Iterator[None]:
    """Take over a worker's environment, and give it back at the end; not for two threads at once."""
    before = dict(os.environ)
    os.environ.update(environ)
    _forget()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget()


def tell_exception(error: BaseException) -> None:
    """Tell the agent why the function ended, and print nothing: the exception goes on to the caller."""
    _report._tell_exception(type(error), error, error.__traceback__, lambda *told: None)


def _forget() -> None:
    """What these modules keep belongs to the worker that this process was, or was not."""
    if _client._client is not None:
        _client._client.forget()
    _client._client = None
    _report.forget()
    _stop.forget()
