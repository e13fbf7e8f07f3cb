"""The botocore client of one endpoint, and what of it the transfer of objects needs: credentials and addresses."""

from __future__ import annotations

import functools
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
        StorageError: botocore is not installed.
    """

    def __init__(self, options: S3Options) -> None:
        if importlib.util.find_spec("botocore") is None:
            _brought.reach()  # in a pod the agent has it
        try:
            # Not boto3, which is made on it: for the same client it takes half as much CPU again.
            import botocore.session
        except ImportError as e:
            raise missing_package("s3://", "botocore", "s3") from e
        self._options = options
        session = botocore.session.get_session()
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        # Of a listing's CPU, half goes into dates that nobody reads here; the AWS command line leaves them as text too.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
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
    config = Config(**settings)
    return session.create_client("s3", endpoint_url=options.endpoint_url, region_name=region, config=config)  # type: ignore[no-any-return]


@functools.cache
def _loader(data_path: str | None) -> Any:
    """One for all sessions of this process: it keeps S3's models, which take longer to read than a client to make."""
    from botocore.loaders import create_loader

    return create_loader(data_path)
