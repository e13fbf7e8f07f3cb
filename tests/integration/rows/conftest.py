"""A bucket of its own for each test, with its keys in this process; the agents get them as pods do."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from e2e.cluster.s3 import S3Server

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Bucket:
    """`s3://name` on a real server. `keys` are the variables that a Secret would bring."""

    server: S3Server
    name: str
    keys: dict[str, str]

    def uri(self, prefix: str = "runs", *, endpoint: str = "", options: str = "") -> str:
        """A storage path."""
        return f"s3://{self.name}/{prefix}?endpoint_override={endpoint or self.server.endpoint}{options}"

    def everything(self) -> dict[str, str]:
        """Every object with the sum of its content."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    keys = {name: value for name, value in s3_server.environment.items() if "ENDPOINT" not in name}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    name = f"rows-{next(_numbers)}"
    s3_server.make_bucket(name)
    return Bucket(s3_server, name, keys)
