"""How an agent reaches the lead: in its own process (pod 0), or over HTTP."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from paceline.agent import web
from paceline.agent.beat import Beat, Orders
from paceline.agent.lead import Lead

_ANSWER_S = 10.0


class LinkDownError(Exception):
    """The lead was not reached this time."""


class Link(Protocol):
    """One exchange; may be repeated freely."""

    async def exchange(self, beat: Beat) -> Orders:
        """Raises LinkDownError."""
        ...


class LocalLink:
    """The lead runs here."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead

    async def exchange(self, beat: Beat) -> Orders:
        """Never fails."""
        return self._lead.exchange(beat)


class HttpLink:
    """The lead runs in pod 0.

    The address of that pod never changes, and its name may vanish or be slow to resolve: the name belongs to the
    Service, which goes before the pods when the job is deleted, and looking it up takes a thread of those that may all
    hang in a dead store. So the address that has answered is asked first.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._address = ""  # that answered last

    @property
    def where(self) -> tuple[str, int]:
        """Host and port at which the lead is found best."""
        return self._address or self._host, self._port

    async def exchange(self, beat: Beat) -> Orders:
        """One POST."""
        try:
            told, self._address = await self._ask(beat)
            return Orders.from_json(told)
        except OSError as e:
            raise LinkDownError(f"{self._host}:{self._port}: {e.strerror or e}") from None
        except (KeyError, TypeError, ValueError) as e:
            raise LinkDownError(f"{self._host}:{self._port} answered something else: {e}") from None

    async def _ask(self, beat: Beat) -> tuple[Any, str]:
        if not self._address:
            return await self._post(self._host, beat)
        try:
            return await self._post(self._address, beat)
        except OSError as at_address:
            try:
                return await self._post(self._host, beat)
            except socket.gaierror:
                raise at_address from None

    async def _post(self, host: str, beat: Beat) -> tuple[Any, str]:
        return await web.post(host, self._port, "/v1/beat", beat.to_json(), timeout_s=_ANSWER_S)
