"""Lists of any length, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from paceline_operator.cluster import pods as wire

PAGE = "500"


async def pages(ask: Callable[[dict[str, str]], Awaitable[bytes]], **params: str) -> AsyncIterator[wire.PodList]:
    """Yield the pages of a list; each tells the version of the whole.

    Args:
        ask: Sends the request with these parameters; what it raises comes through.
        params: Of every page, such as `labelSelector`.
    """
    more = ""
    while True:
        page = wire.decode_list(await ask({**params, "limit": PAGE} | ({"continue": more} if more else {})))
        yield page
        more = page.metadata.continue_
        if not more:
            return
