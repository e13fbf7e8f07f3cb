"""Feeds the queue with TrainJobs: no finalizer, no annotation, nothing of kopf's is written to any object."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import kopf

from paceline.api import names
from paceline_operator.cluster.access import Access

Feed: TypeAlias = Callable[[str | None, dict[str, Any]], None]
"""Takes the type of a watch event (None from a list) and the body."""

TOKEN_LIFE = timedelta(minutes=5)
SERVER_TIMEOUT_S = 300
CONNECT_TIMEOUT_S = 10
SILENCE_S = 75


@dataclass(frozen=True, kw_only=True)
class Connection(kopf.ConnectionInfo):
    """kopf's way to the cluster, with our TLS context.

    kopf's own is strict where Python 3.13 is: it refuses certificates without key identifiers, and some clusters have
    such.
    """

    access: Access

    def as_ssl_context(self) -> ssl.SSLContext:
        """Return the context that the rest of the operator uses too."""
        context = self.access.tls()
        return context if isinstance(context, ssl.SSLContext) else super().as_ssl_context()


class NoDiffs(kopf.DiffBaseStorage):
    """Nothing is kept of an object to be compared later.

    kopf copies each body of each event deeply for it, also where nobody asks for a difference: that was half of the
    CPU that its thread used, and it holds the interpreter's lock meanwhile.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing instead of a copy."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return that nothing was kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def registry(access: Access, feed: Feed) -> kopf.OperatorRegistry:
    """Return kopf's handlers: they hand over what comes and do nothing else."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.startup(registry=handlers)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiffs()
        settings.scanning.disabled = True
        settings.process.ultimate_exiting_timeout = None
        # Watches fall silent without these timeouts (nolar/kopf#585).
        settings.watching.server_timeout = SERVER_TIMEOUT_S
        settings.watching.connect_timeout = CONNECT_TIMEOUT_S
        settings.watching.inactivity_timeout = SILENCE_S
        settings.watching.chunk_size = 500
        settings.networking.request_timeout = 30
        settings.networking.error_backoffs = (0.5, 1, 2, 4)
        settings.queueing.idle_timeout = 1.0
        settings.queueing.exit_timeout = 0.5

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connection(access)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers)
    async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:
        feed(type, dict(body))

    return handlers


def connection(access: Access) -> kopf.ConnectionInfo:
    """Return kopf's view of the way to the cluster. A token is asked for again before it can run out."""
    scheme, _, token = (access.authorization() or "").partition(" ")
    return Connection(
        access=access,
        server=access.server,
        scheme=scheme or None,
        token=token or None,
        expiration=datetime.now(timezone.utc) + TOKEN_LIFE if access.has_token else None,
    )


def quiet() -> None:
    """Keep kopf's line for each handled event out of the log."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").setLevel(logging.ERROR)
