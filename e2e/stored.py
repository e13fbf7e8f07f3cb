"""What lies in a store, read from outside: by other clients than the ones that wrote it."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from e2e.cluster.s3 import S3Server


class Stored(Protocol):
    """One directory in a store. Names are relative to it."""

    def sizes(self) -> dict[str, int]:
        """Every file below it with its size in bytes."""

    def read(self, name: str) -> bytes:
        """One file."""


@dataclass(frozen=True, slots=True)
class OnS3:
    """Below a prefix of a bucket, by boto3."""

    server: S3Server
    bucket: str
    prefix: str = ""

    def sizes(self) -> dict[str, int]:
        """By ListObjectsV2."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        return {e["Key"].removeprefix(self.prefix): e["Size"] for page in pages for e in page.get("Contents", [])}

    def read(self, name: str) -> bytes:
        """By GetObject."""
        body: bytes = self.server.client().get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()
        return body


@dataclass(frozen=True, slots=True)
class OnGcs:
    """Below a prefix of a bucket, by the JSON API alone."""

    endpoint: str
    bucket: str
    prefix: str

    def sizes(self) -> dict[str, int]:
        """By objects.list."""
        found: dict[str, int] = {}
        token = ""
        while True:
            query = urllib.parse.urlencode({"prefix": self.prefix, **({"pageToken": token} if token else {})})
            page = _json(f"{self.endpoint}/storage/v1/b/{self.bucket}/o?{query}")
            found |= {item["name"].removeprefix(self.prefix): int(item["size"]) for item in page.get("items", [])}
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def read(self, name: str) -> bytes:
        """By objects.get."""
        quoted = urllib.parse.quote(self.prefix + name, safe="")
        return _get(f"{self.endpoint}/storage/v1/b/{self.bucket}/o/{quoted}?alt=media")


@dataclass(frozen=True, slots=True)
class OnHdfs:
    """Below a directory, by WebHDFS, which the jobs do not use."""

    endpoint: str
    directory: str
    user: str

    def sizes(self) -> dict[str, int]:
        """By LISTSTATUS, directory by directory."""
        return dict(self._walk(""))

    def read(self, name: str) -> bytes:
        """By OPEN."""
        return _get(self._url(name, "OPEN"))

    def _walk(self, below: str) -> Iterator[tuple[str, int]]:
        for entry in _json(self._url(below, "LISTSTATUS"))["FileStatuses"]["FileStatus"]:
            name = f"{below}{entry['pathSuffix']}"
            if entry["type"] == "DIRECTORY":
                yield from self._walk(f"{name}/")
            else:
                yield name, int(entry["length"])

    def _url(self, name: str, operation: str) -> str:
        path = urllib.parse.quote(f"{self.directory}/{name}".rstrip("/"))
        return f"{self.endpoint}/webhdfs/v1{path}?op={operation}&user.name={self.user}"


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Below a directory of this machine that the nodes see too."""

    directory: Path

    def sizes(self) -> dict[str, int]:
        """By a walk."""
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.directory)): path.stat().st_size for path in files}

    def read(self, name: str) -> bytes:
        """As any file."""
        return (self.directory / name).read_bytes()


def _json(url: str) -> Any:
    return json.loads(_get(url))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body
