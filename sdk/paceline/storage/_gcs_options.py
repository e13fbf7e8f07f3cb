"""What a `gs://` URI may say after its question mark."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.storage import _uri
from paceline.storage._errors import StorageError

_KNOWN = ("endpoint_override", "scheme", "project", "allow_bucket_creation", "anonymous")


@dataclass(frozen=True, slots=True)
class GcsOptions:
    """How to reach the store. Credentials never stand here: Google's library finds them in the environment."""

    endpoint_override: str = ""
    scheme: str = ""
    project: str = ""
    allow_bucket_creation: bool = False
    anonymous: bool = False

    @classmethod
    def of(cls, uri: _uri.StorageUri) -> GcsOptions:
        """From a URI.

        Raises:
            StorageError: An unknown key or a bad value.
        """
        given = _uri.read_options(uri, _KNOWN)
        scheme = given.get("scheme", "")
        if scheme not in ("", "http", "https"):
            raise StorageError(f"scheme={scheme} in {uri.kind}: use http or https")
        return cls(
            given.get("endpoint_override", ""),
            scheme,
            given.get("project", ""),
            _uri.read_flag(uri, "allow_bucket_creation", given.get("allow_bucket_creation", "false")),
            _uri.read_flag(uri, "anonymous", given.get("anonymous", "false")),
        )

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint with its scheme, or None for Google's (or STORAGE_EMULATOR_HOST)."""
        if not self.endpoint_override:
            return None
        if "://" in self.endpoint_override:
            return self.endpoint_override.rstrip("/")
        return f"{self.scheme or 'https'}://{self.endpoint_override}"

    def uri(self, path: str) -> str:
        """Back to text."""
        return _uri.write(
            "gs",
            path,
            {
                "endpoint_override": self.endpoint_override,
                "scheme": self.scheme,
                "project": self.project,
                "allow_bucket_creation": "true" if self.allow_bucket_creation else "",
                "anonymous": "true" if self.anonymous else "",
            },
        )
