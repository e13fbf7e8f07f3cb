"""A storage path taken apart: scheme, host or bucket, path and options; never a credential.

Nothing is percent-decoded but `file://`: the names of objects may hold `%`, `#` and spaces, and `join` works on text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from paceline.storage._errors import StorageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"secret|passw|token|credential|signature|(^|_)sas(_|$)|key|auth(?!or)", re.IGNORECASE)
# What a person who put a key into the path has to do instead.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment (spec.storage.secretRef), or a role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (a key file) or workload identity",
    "hdfs": "Kerberos (kinit, a keytab) or HADOOP_TOKEN_FILE_LOCATION",
    "webhdfs": "a filesystem object made with them (storage_filesystem)",
}
_AZURE = ("abfs", "abfss")
_WITH_USER = ("hdfs", "webhdfs", "sftp", "ssh", "smb", *_AZURE)


@dataclass(frozen=True, slots=True)
class StorageUri:
    """`scheme://authority/path?options`."""

    scheme: str
    authority: str  # bucket or host:port
    user: str  # of hdfs://user@host; elsewhere empty
    path: str  # without slashes around
    options: tuple[tuple[str, str], ...]

    @property
    def kind(self) -> str:
        """For messages: `an s3:// storage path`."""
        return _kind(self.scheme)


def has_scheme(text: str) -> bool:
    """Whether it starts like a URI."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> StorageUri:
    """Take a URI apart.

    Raises:
        StorageError: It carries a credential, or a path that no store would keep as it is.
    """
    found = _SCHEME.match(text)
    if found is None:
        raise StorageError("the storage path has no scheme such as s3://")
    scheme = found[1].lower()
    location, _, query = text[found.end() :].partition("?")
    authority, _, path = location.partition("/")
    userinfo, at, authority = authority.rpartition("@")
    # Neither the message nor anything else may repeat what stands before the @.
    if at and (":" in userinfo or scheme not in _WITH_USER):
        raise StorageError(f"{_kind(scheme)} names no user and no key before an @: {_instead(scheme)}")
    if scheme in _AZURE:
        authority, userinfo = f"{userinfo}{at}{authority}", ""  # container@account
    options = tuple(parse_qsl(query, keep_blank_values=True))
    for key, _ in options:
        if is_secret(key):
            raise StorageError(f"{key!r} in {_kind(scheme)}: credentials do not belong there; {_instead(scheme)}")
    segments = [segment for segment in path.split("/") if segment]
    if any(segment in (".", "..") for segment in segments):
        raise StorageError(f"the storage path of {scheme}://{authority} has a '.' or '..' in it: write it without")
    return StorageUri(scheme, authority, userinfo, "/".join(segments), options)


def join(uri: str, *names: str) -> str:
    """`uri` with names added to its path; a query (`?region=...`) stays at the end."""
    path, mark, query = uri.partition("?") if has_scheme(uri) else (uri, "", "")
    return "/".join([path.rstrip("/"), *names]) + mark + query


def is_secret(key: str) -> bool:
    """Whether an option of this name would hold a credential."""
    return _SECRET.search(key) is not None


def read_options(uri: StorageUri, known: Iterable[str]) -> dict[str, str]:
    """The options by name.

    Raises:
        StorageError: One is not in `known`; its value is not repeated.
    """
    names = tuple(known)
    given: dict[str, str] = {}
    for key, value in uri.options:
        if key not in names:
            use = f"use {', '.join(names)}" if names else "it takes none"
            raise StorageError(f"unknown key {key!r} in {uri.kind}: {use}")
        given[key] = value
    return given


def read_flag(uri: StorageUri, key: str, value: str) -> bool:
    """`true` or `false`."""
    if value.lower() not in ("true", "false", "1", "0"):
        raise StorageError(f"{key}={value} in {uri.kind}: use true or false")
    return value.lower() in ("true", "1")


def write(scheme: str, path: str, options: dict[str, str]) -> str:
    """Back to text; options that are empty are left out."""
    query = urlencode({key: value for key, value in options.items() if value}, safe=":/")
    return f"{scheme}://{path}" + (f"?{query}" if query else "")


def _kind(scheme: str) -> str:
    return f"{'an' if scheme[0] in 'aefhos' else 'a'} {scheme}:// storage path"


def _instead(scheme: str) -> str:
    return f"give them by {_CREDENTIALS.get(scheme, 'the usual environment of the client, or a filesystem object')}"
