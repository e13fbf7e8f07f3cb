"""What the store or botocore said, in words for the person who must act."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._s3_options import S3Options

_NOT_FOUND = {"NoSuchKey", "404", "NotFound"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted"}
_RETRYABLE_CODES = {
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "RequestTimeout",
    "InternalError", "ServiceUnavailable", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody",
}  # fmt: skip
_CREDENTIALS_HINT = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the Secret named by spec.storage.secretRef"
    " (or the pod's workload identity)"
)
_HINTS = {
    "AccessDenied": "the credentials may not do this here: allow list, get, put and delete below the storage path",
    "InvalidAccessKeyId": _CREDENTIALS_HINT,
    "SignatureDoesNotMatch": _CREDENTIALS_HINT,
    "ExpiredToken": _CREDENTIALS_HINT,
    "InvalidToken": _CREDENTIALS_HINT,
    "403": _CREDENTIALS_HINT,
    "NoSuchBucket": "create the bucket, correct spec.storage.path, or add ?allow_bucket_creation=true to it",
    "AuthorizationHeaderMalformed": "add ?region=<the bucket's region> to the storage path",
    "PermanentRedirect": "add ?region=<the bucket's region> to the storage path",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it (NTP), on every node that trains",
    "EntityTooLarge": "the store takes no object of this size: write the checkpoint as several files",
    "XAdminMethodNotSupported": "endpoint_override must name the S3 port, not the console's",
    "XAdminUserNotFound": _CREDENTIALS_HINT,
}


class ConditionFailedError(StorageError):
    """The key exists (412), or another conditional write ran at the same time (409)."""

    def __init__(self, message: str, *, conflict: bool) -> None:
        super().__init__(message, retryable=conflict)
        self.conflict = conflict


class NoSuchUploadError(StorageError):
    """The store does not know the multipart upload: it was completed, aborted, or lost."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class Translated:
    """Context manager: botocore's exceptions leave it as `StorageError`."""

    def __init__(self, action: str, path: str, options: S3Options) -> None:
        self._what = f"cannot {action} s3://{path}"
        self._options = options

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, StorageError) or not isinstance(error, Exception):
            return
        translated = _translate(self._what, error, self._options)
        if translated is not None:
            raise translated from error


def _translate(what: str, error: Exception, options: S3Options) -> StorageError | None:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, ClientError):
        return _client_error(what, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(f"{what}: no credentials were found; {_CREDENTIALS_HINT}")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StorageError(
            f"{what}: the store's certificate is not trusted; set AWS_CA_BUNDLE to a file with the authority's"
            " certificate"
        )
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        return StorageError(f"{what}: {error.strerror or error}")
    if isinstance(error, BotoCoreError | ConnectionError | TimeoutError | OSError):
        where = f" ({options.endpoint_url})" if options.endpoint_url else ""
        return StorageError(f"{what}: {_one_line(error)}{where}", retryable=_is_passing(error))
    return None


def _is_passing(error: BaseException) -> bool:
    from botocore.exceptions import InvalidRegionError, NoRegionError, ParamValidationError

    return not isinstance(error, ParamValidationError | NoRegionError | InvalidRegionError | ValueError)


def _client_error(what: str, error: Any) -> StorageError:
    detail = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return refused(what, status, str(detail.get("Code", status)), str(detail.get("Message") or ""))


def refused(what: str, status: int, code: str, said: str) -> StorageError:
    """An answer of the store that is not 2xx.

    Args:
        what: `cannot upload s3://bucket/key`.
        code: The store's own word, or the status where it gave none.
        said: The store's own sentence, or nothing.
    """
    said = said.strip().rstrip(".")
    message = f"{what}: {code}" + (f": {said}" if said else "")
    if code in _NOT_FOUND:
        return StorageNotFoundError(message)
    if code == "NoSuchUpload":
        return NoSuchUploadError(message)
    if status == 412 or code == "PreconditionFailed":
        return ConditionFailedError(message, conflict=False)
    if code in _CONFLICT:
        return ConditionFailedError(message, conflict=True)
    if hint := _HINTS.get(code, _CREDENTIALS_HINT if status == 403 else ""):
        message += f"; {hint}"
    return StorageError(message, retryable=code in _RETRYABLE_CODES or status == 429 or status >= 500)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
