from __future__ import annotations

from typing import Protocol

import kopf

from paceline_operator.handlers.trainjobs import NoDiffs


class Kept(Protocol):
    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None: ...


def test_no_copy_is_made_of_an_object_and_nothing_is_written_into_it() -> None:
    storage, patch = NoDiffs(), kopf.Patch()
    kept: Kept = storage
    body = kopf.Body({"metadata": {"name": "digits"}, "spec": {"image": "i"}})
    assert storage.build(body=body, extra_fields=None) == {}
    storage.store(body=body, patch=patch, essence=kopf.BodyEssence())
    assert patch == {}
    assert kept.fetch(body=body) is None
