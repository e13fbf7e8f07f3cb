"""The query of an s3:// storage path: `?endpoint_override=http://host:9000&region=eu-west-1`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from paceline.storage._errors import StorageError

_KNOWN = ("endpoint_override", "scheme", "region", "allow_bucket_creation")


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach the store. Credentials never stand here: botocore finds them in the environment."""

    endpoint_override: str = ""
    scheme: str = ""
    region: str = ""
    allow_bucket_creation: bool = False

    @classmethod
    def from_query(cls, pairs: Iterable[tuple[str, str]]) -> S3Options:
        """From the pairs of a URI's query.

        Raises:
            StorageError: An unknown key or a bad value.
        """
        given: dict[str, str] = {}
        for key, value in pairs:
            if key not in _KNOWN:
                # The value is left out: a person who puts a key there should not find it in a log.
                raise StorageError(f"unknown key {key!r} in an s3:// storage path: use {', '.join(_KNOWN)}")
            given[key] = value
        scheme = given.get("scheme", "")
        if scheme not in ("", "http", "https"):
            raise StorageError(f"scheme={scheme} in an s3:// storage path: use http or https")
        creation = given.get("allow_bucket_creation", "false").lower()
        if creation not in ("true", "false", "1", "0"):
            raise StorageError(f"allow_bucket_creation={creation} in an s3:// storage path: use true or false")
        return cls(given.get("endpoint_override", ""), scheme, given.get("region", ""), creation in ("true", "1"))

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint with its scheme, or None for AWS (or AWS_ENDPOINT_URL)."""
        if not self.endpoint_override:
            return None
        if "://" in self.endpoint_override:
            return self.endpoint_override
        return f"{self.scheme or 'https'}://{self.endpoint_override}"

    def query(self) -> str:
        """Back to the text after `?`; empty when everything is at its default."""
        given = {
            "endpoint_override": self.endpoint_override,
            "scheme": self.scheme,
            "region": self.region,
            "allow_bucket_creation": "true" if self.allow_bucket_creation else "",
        }
        return urlencode({key: value for key, value in given.items() if value}, safe=":/")
