from __future__ import annotations

import kopf

from paceline_operator.handlers.trainjobs import NoDiffs


def test_no_copy_is_made_of_an_object_and_nothing_is_written_into_it() -> None:
    storage, patch = NoDiffs(), kopf.Patch()
    body = kopf.Body({"metadata": {"name": "digits"}, "spec": {"image": "i"}})
    assert storage.build(body=body, extra_fields=None) == {}
    assert storage.fetch(body=body) is None
    storage.store(body=body, patch=patch, essence=kopf.BodyEssence())
    assert patch == {}
