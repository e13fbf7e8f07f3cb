"""A few questions to a cluster, and one way to wait for an answer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from e2e.cluster import KubectlError
from e2e.cluster.api import Api, ApiError

T = TypeVar("T")
POLL_S = 0.25
# What tests look at again and again while they wait, and delete.
SERVED_AT = {
    "namespace": "/api/v1/namespaces",
    "trainjob": "/apis/paceline.dev/v1alpha1/namespaces/{}/trainjobs",
    "pods": "/api/v1/namespaces/{}/pods",
    "events": "/api/v1/namespaces/{}/events",
    "service": "/api/v1/namespaces/{}/services",
}


class WaitTimeoutError(AssertionError):
    """What was waited for did not come; the message tells what was seen last."""


@dataclass(frozen=True, slots=True)
class Kube:
    """One cluster, named by its kubeconfig."""

    kubeconfig: Path
    kubectl_path: str = "kubectl"
    api: Api | None = None
    """Where it is given, reads go by it: four kubectl processes a second take the processors from what they look at."""

    @property
    def env(self) -> dict[str, str]:
        """The environment in which kubectl, helm and paceline speak to this cluster."""
        return os.environ | {"KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed.

        Raises:
            KubectlError: It exited with another code than 0.
        """
        done = subprocess.run(
            [self.kubectl_path, *args], env=self.env, input=stdin, text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> str:
        """Apply the objects, given as dicts."""
        where = ["-n", namespace] if namespace else []
        return self.kubectl("apply", *where, "-f", "-", stdin=as_list(objects))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Return the object, None when there is none."""
        if self.api is not None and kind in SERVED_AT:
            try:
                body: dict[str, Any] = self.api.call("GET", f"{SERVED_AT[kind].format(namespace)}/{name}")
            except ApiError as error:
                if error.status == 404:
                    return None
                raise
            return body
        try:
            found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        except KubectlError as error:
            if "NotFound" in str(error) or "not found" in str(error):
                return None
            raise
        return found

    def delete(self, kind: str, name: str, namespace: str) -> None:
        """Delete the object, without waiting for the last of it."""
        if self.api is not None and kind in SERVED_AT:
            self.api.call("DELETE", f"{SERVED_AT[kind].format(namespace)}/{name}")
        else:
            self.kubectl("delete", kind, name, "-n", namespace, "--wait=false")

    def list(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the namespace's objects of a kind."""
        if self.api is not None and kind in SERVED_AT:
            query = f"?labelSelector={quote(selector)}" if selector else ""
            answer = self.api.call("GET", SERVED_AT[kind].format(namespace) + query)
        else:
            args = ["-l", selector] if selector else []
            answer = json.loads(self.kubectl("get", kind, "-n", namespace, *args, "-o", "json"))
        items: list[dict[str, Any]] = answer["items"]
        return items


def as_list(objects: Iterable[dict[str, Any]]) -> str:
    """Return the objects as one text for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def new_namespace(name: str, **labels: str) -> dict[str, Any]:
    """Return a namespace to apply."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def new_secret(name: str, namespace: str, **values: str) -> dict[str, Any]:
    """Return a Secret to apply."""
    where = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": where, "stringData": values}


def wait_for(what: str, look: Callable[[], T | None], *, timeout_s: float, seen: Callable[[], object] = str) -> T:
    """Look until the answer is neither None nor False; return it.

    Raises:
        WaitTimeoutError: `timeout_s` seconds went by; the message holds `seen()`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = look()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"{what}: not within {timeout_s:.0f} s; last seen: {seen()}")
        time.sleep(POLL_S)
