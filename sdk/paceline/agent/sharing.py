"""Does this pod see the store that the lead sees? Proven before training starts, by a file that the lead wrote."""

from __future__ import annotations

from paceline.agent import log
from paceline.agent.beat import Orders
from paceline.agent.config import AgentConfig
from paceline.agent.errors import StorageFailedError
from paceline.agent.stores import Stores
from paceline.storage import StorageError, StorageNotFoundError, retry

_PATIENCE_S = 30.0


def sees_marker(config: AgentConfig, stores: Stores, orders: Orders) -> bool:
    """Whether this pod reads what the lead wrote; blocks. Only a directory may turn out not to be shared.

    Raises:
        StorageFailedError: The store refused, or is another one than the lead's.
    """
    if config.is_lead:
        return True
    try:
        storage, run = stores.run()

        def look() -> bool:
            try:
                seen = orders.token.encode() in storage.read(f"{run}/{orders.marker}")
            except StorageNotFoundError:
                return False
            if seen:
                storage.check(run)
            return seen

        shared = retry.call(look, patience_s=_PATIENCE_S, on_retry=log.retrying("storage"))
    except StorageError as e:
        raise StorageFailedError(f"pod {config.node_rank}: {e}") from e
    if not shared and storage.scheme != "file":
        raise StorageFailedError(
            f"pod {config.node_rank} does not see what pod 0 wrote to {storage.uri(run)}: is it the same"
            " endpoint and bucket in every pod?"
        )
    if not shared:
        log.say(f"warning: {run} is not shared with pod 0; checkpoints cannot be stored")
    return shared
