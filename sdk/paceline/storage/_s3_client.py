"""The boto3 client of one endpoint, and what of it the transfer of objects needs: credentials and addresses."""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import TYPE_CHECKING, Any

from paceline import _brought
from paceline.storage import _s3_errors, _s3_place
from paceline.storage._errors import missing_package
from paceline.storage._s3_objects import Objects
from paceline.storage._s3_options import S3Options
from paceline.storage._s3_sign import Credentials

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class Access:
    """Of one process. Safe to use from several threads.

    Raises:
        StorageError: boto3 is not installed.
    """

    def __init__(self, options: S3Options) -> None:
        if importlib.util.find_spec("boto3") is None:
            _brought.reach()  # in a pod the agent has it
        try:
            import boto3
            import botocore.session
        except ImportError as e:
            raise missing_package("s3://", "boto3", "s3") from e
        self._options = options
        core = botocore.session.get_session()
        # Of a listing's CPU, half goes into dates that nobody reads here; the AWS command line leaves them as text too.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        session = boto3.session.Session(botocore_session=core)
        self.client: S3Client = _client(session, options)
        self._found = session.get_credentials()
        self._lock = threading.Lock()
        self._objects: dict[str, Objects] = {}

    def objects(self, bucket: str) -> Objects:
        """Of one bucket."""
        with self._lock:
            if bucket not in self._objects:
                self._objects[bucket] = Objects(bucket, _s3_place.find(self.client, bucket), self._credentials)
            return self._objects[bucket]

    def _credentials(self) -> Credentials:
        from botocore.exceptions import NoCredentialsError

        with _s3_errors.Translated("sign a request to", "", self._options):
            if self._found is None:
                raise NoCredentialsError
            # Renews those that are about to expire.
            found = self._found.get_frozen_credentials()
            if not found.access_key or not found.secret_key:
                raise NoCredentialsError
            return Credentials(found.access_key, found.secret_key, found.token)


def _client(session: Any, options: S3Options) -> S3Client:
    from botocore.config import Config

    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    own_endpoint = bool(options.endpoint_url or named)
    settings: dict[str, Any] = {
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "max_attempts": 5},
        "max_pool_connections": 64,
    }
    if own_endpoint:
        # Many S3-compatible servers know neither bucket host names nor the newer trailing checksums.
        settings |= {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and own_endpoint:
        region = "us-east-1"
    return session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=Config(**settings))  # type: ignore[no-any-return]
