"""Against a real API server: how it tells what is gone, be it an object or a kind."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from e2e.cluster import Bed
from paceline_operator.cluster import access
from paceline_operator.cluster.client import ApiError, Client
from paceline_operator.cluster.executor import unserved
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


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/namespaces/default/pods/none-such", "none-such"),
        ("/apis/paceline.dev/v1alpha1/namespaces/default/trainjobs/none-such", "none-such"),
        ("/apis/scheduling.k8s.io/v1/priorityclasses/none-such", "none-such"),
        ("/apis/scheduling.k8s.io/v1/namespaces/default/podgroups/none-such", ""),
        ("/apis/scheduling.k8s.io/v1alpha9/namespaces/default/podgroups/none-such", ""),
        ("/apis/nobody.example/v1/namespaces/default/podgroups/none-such", ""),
        ("/apis/paceline.dev/v1alpha1/namespaces/default/podgroups/none-such", ""),
    ],
)
async def test_what_is_not_found_is_the_object_that_is_named_or_else_the_kind(
    crd_server: Bed, path: str, name: str
) -> None:
    async with Client(access.load(crd_server.kubeconfig)) as client:
        for method in ("GET", "DELETE"):
            with pytest.raises(ApiError) as caught:
                await client.request(method, path)
            assert (caught.value.code, caught.value.name, unserved(caught.value)) == (404, name, not name)
