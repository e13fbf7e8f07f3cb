"""Where the objects of a bucket are reached, and by whom: asked of botocore, which knows every rule of it."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from paceline.storage._errors import StorageError
from paceline.storage._http import Address

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
_DIRECTORY_BUCKET = "--x-s3"  # S3 Express One Zone: botocore would have to ask for a session first
_PROBE = "paceline-probe"


@dataclass(frozen=True, slots=True)
class Place:
    """Of one bucket: the address, what comes before the key in the path, and the scope of signatures."""

    address: Address
    prefix: str
    region: str
    service: str


class _FoundError(Exception):
    def __init__(self, request: Any) -> None:
        super().__init__("the request is only looked at, not sent")
        self.request = request


def find(client: S3Client, bucket: str) -> Place:
    """Let botocore make and sign a request for an object of the bucket, and look where it would have gone.

    Raises:
        StorageError: The bucket is of a kind that is signed in another way.
        botocore.exceptions.BotoCoreError: No credentials, no region, a bad bucket name.
    """
    if bucket.endswith(_DIRECTORY_BUCKET):
        raise _other_signature(bucket)
    me = threading.get_ident()

    def stop(request: Any, **_: Any) -> None:
        if threading.get_ident() == me:
            raise _FoundError(request)

    event = "before-send.s3.HeadObject"
    client.meta.events.register(event, stop)
    try:
        client.head_object(Bucket=bucket, Key=_PROBE)
    except _FoundError as found:
        request = found.request
    else:
        raise AssertionError("botocore sent a request past its own event")
    finally:
        client.meta.events.unregister(event, stop)
    authorization = request.headers.get("Authorization", "")
    if isinstance(authorization, bytes):
        authorization = authorization.decode()
    scope = _SCOPE.search(authorization)
    if scope is None:
        raise _other_signature(bucket)
    where = urlsplit(request.url)
    prefix = where.path[: -len(_PROBE)]
    address = Address(
        secure=where.scheme == "https",
        host=where.hostname or "",
        port=where.port,
        proxy=_proxy(client, request.url),
        ca_bundle=_ca_bundle(client) if where.scheme == "https" else "",
        trust="set AWS_CA_BUNDLE to a file with the authority's certificate",
    )
    return Place(address, prefix, scope[1], scope[2])


def _other_signature(bucket: str) -> StorageError:
    return StorageError(
        f"s3://{bucket} wants requests signed in a way that Paceline does not know (a directory bucket, or a"
        " multi-region access point): use a general purpose bucket"
    )


def _proxy(client: S3Client, url: str) -> str:
    from botocore.utils import get_environ_proxies

    proxies = getattr(client.meta.config, "proxies", None) or get_environ_proxies(url)
    return str(proxies.get(urlsplit(url).scheme) or "")


def _ca_bundle(client: S3Client) -> str:
    import botocore.session
    from botocore.httpsession import get_cert_path

    given = botocore.session.get_session().get_config_variable("ca_bundle")
    return str(given or get_cert_path(True))
