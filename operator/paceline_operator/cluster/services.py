"""Services of TrainJobs, found by the uid of their job: whoever deletes one sees it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paceline_operator import contract
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.informer import EVERYWHERE, Shown


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """A Service as the watch shows it."""

    uid: str
    owner: str
    """Uid of its job."""
    key: str
    """`namespace/name` of its job."""


class ServiceStore(Shown):
    """Services by owner. Of each, only whose it is counts: nobody has a reason to change one."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        """`changed` is told the key of each job whose Service came or went."""
        super().__init__()
        self._changed = changed
        self._by_owner: dict[str, ServiceSeen] = {}
        self._by_uid: dict[str, ServiceSeen] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def of(self, owner_uid: str) -> str | None:
        """Return the uid of a job's Service; None where none is shown."""
        seen = self._by_owner.get(owner_uid)
        return seen.uid if seen else None

    def put(self, found: wire.Pod, scope: str = EVERYWHERE) -> None:
        """Take over a Service from a list or an event."""
        meta, owner = found.metadata, wire.owner_uid(found)
        self.bookmark(meta.resource_version, scope)
        # A job finds its Service by its own name: any other that it owns was made by somebody else.
        if not owner or meta.uid in self._by_uid or meta.labels.get(contract.LABEL_JOB) != meta.name:
            return
        seen = ServiceSeen(meta.uid, owner, f"{meta.namespace}/{meta.name}")
        self._by_uid[meta.uid] = self._by_owner[owner] = seen
        self._changed(seen.key)

    def remove(self, uid: str, resource_version: str = "0", scope: str = EVERYWHERE) -> None:
        """Forget a Service that is gone."""
        self.bookmark(resource_version, scope)
        seen = self._by_uid.pop(uid, None)
        if seen is None:
            return
        # Made anew, it may be shown before the end of the old one is.
        if self.of(seen.owner) == uid:
            del self._by_owner[seen.owner]
        self._changed(seen.key)

    def keys(self) -> list[tuple[str, str]]:
        """Return the uid of each Service, and the key of its job."""
        return [(uid, seen.key) for uid, seen in self._by_uid.items()]
