"""Against a real API server: the list of metadata that tells which jobs are gone."""

from __future__ import annotations

import json
from uuid import uuid4

from e2e.cluster import Bed
from paceline_operator.cluster import access
from paceline_operator.cluster.client import Client
from paceline_operator.cluster.rollcall import Present, RollCall
from tests.support.crdserver import crd_server
from tests.support.trainjobs import make_trainjob

__all__ = ["crd_server"]


async def test_a_job_that_went_unseen_is_told_by_a_list_of_metadata_alone(crd_server: Bed) -> None:
    namespace = f"roll-{uuid4().hex[:8]}"
    crd_server.kubectl("create", "namespace", namespace)
    body = make_trainjob("there", namespace).suspended().body()
    made = json.loads(crd_server.kubectl("apply", "-o", "json", "-f", "-", input=json.dumps(body)))
    uid, version = made["metadata"]["uid"], int(made["metadata"]["resourceVersion"])
    remembered = [
        Present(f"{namespace}/there", uid, version),
        Present(f"{namespace}/gone", "gone", version),
        Present(f"{namespace}/newer", "newer", version + 1_000_000),
        Present("elsewhere/gone", "elsewhere", version),
    ]
    answers, gone = list[bytes](), list[str]()

    class Kept(Client):
        async def request(self, *args: object, **options: object) -> bytes:
            answers.append(await super().request(*args, **options))  # type: ignore[arg-type]
            return answers[-1]

    for watched, found in (([namespace], ["gone"]), ([], ["gone", "elsewhere"])):
        gone.clear()
        async with Kept(access.load(crd_server.kubeconfig)) as client:
            await RollCall(client, watched, lambda: remembered, lambda key, uid: gone.append(uid)).look()
        assert gone == found
    assert all(json.loads(answer)["kind"] == "PartialObjectMetadataList" for answer in answers)
    assert not any(b'"image"' in answer for answer in answers)
    crd_server.kubectl("delete", "namespace", namespace, "--wait=false")
