"""What a client library raised, sorted by what the reader can do about it.

The libraries share no base class, and importing them to name their exceptions would be slow: classes are told by
library and name, and servers by the words they are known to use.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from paceline.storage._errors import DISK_WAYS_OUT, StorageError, StorageNotFoundError, WaysOut

# hdfs-native gives the name node's answer as Rust writes it: class, message and Java's stack trace.
_RPC_ERROR = re.compile(r'^RPCError\("(?:[^"]*\.)?([^".]*)", "(.*?)(?:\\n\\tat .*)?"\)$', re.DOTALL)
_STACK = re.compile(r"\s+at (?:org|java)[.a-z]*\.[A-Z]")
_LONGEST = 600  # a server's page of HTML is of no use in a status

_CREDENTIALS = re.compile(
    r"DefaultCredentialsError|credentials were not found|Invalid Credentials|Anonymous caller|UNAUTHENTICATED"
    r"|Unable to locate credentials|NoCredentials|INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE_DOES_NOT_MATCH"
    r"|SignatureDoesNotMatch|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|GSSAPI|GSSException|SaslException|SASL|NoSASL"
    r"|Authentication required|SecretManager\$InvalidToken|XAdminUserNotFound"
)
_PERMISSION = re.compile(
    r"AccessControlException|AuthorizationException|ACCESS_DENIED|AccessDenied|PERMISSION_DENIED|Permission denied"
    r"|Forbidden"
)
_CONTAINER = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist|ContainerNotFound")
_QUOTA = re.compile(r"QuotaExceeded|QuotaByStorageTypeExceeded")
_PASSING = re.compile(
    r"SafeModeException|StandbyException|RetriableException|ObserverRetryOnActive|could only be (written|replicated)"
    r"|SLOW_DOWN|SlowDown|THROTTLING|REQUEST_TIMEOUT|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|NETWORK_CONNECTION"
    r"|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|HTTP status (408|429|5\d\d)|timed out|DataTransferError"
    r"|ChecksumError|nodes failed for write|LeaseExpired|RPC listener disconnected|in time"
)
_ADDRESS = re.compile(
    r"Connection refused|Could not (resolve|connect)|Couldn't (resolve|connect)|Failed to (resolve|establish)"
    r"|Name or service not known|nodename nor servname|No route to host|Network is unreachable|dns error"
    r"|failed to lookup address|Cannot connect to host|NETWORK_CONNECTION"
)
_PASSING_CLASSES = {
    "aiohttp.ClientError", "requests.RequestException", "urllib3.HTTPError", "gcsfs.ChecksumError",
    "fsspec.FSTimeoutError", "google.TransportError", "asyncio.TimeoutError", "botocore.HTTPClientError",
}  # fmt: skip
_LASTING_CLASSES = {"aiohttp.InvalidURL", "requests.InvalidURL", "requests.MissingSchema", "requests.InvalidSchema"}
_PASSING_CODES = {408, 429, 500, 502, 503, 504}
_PASSING_ERRNO = {
    errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH,
    errno.ENETUNREACH, errno.ENETDOWN, errno.EAGAIN, errno.EINTR, errno.EIO, errno.EBUSY, errno.ESTALE,
}  # fmt: skip


def told(what: str, error: Exception, ways: WaysOut, *, writes: bool = False) -> StorageError:
    """The error in words: what was tried, what was said, what to do.

    Args:
        what: Such as `cannot read gs://bucket/file`.
        writes: It was a write, of which only what holds the path can be missing.
    """
    if isinstance(error, StorageError):
        return error
    said = _said(error)
    code = _code(error)
    number = _disk_errno(error)
    classes = {name for cause in _causes(error) for name in _classes(cause)}
    words = f"{' '.join(sorted(classes))} {said}"
    if number in DISK_WAYS_OUT:
        return StorageError(f"{what}: {said}; {DISK_WAYS_OUT[number]}")
    if _CONTAINER.search(words):
        return StorageError(f"{what}: {said}; {ways.container}")
    if isinstance(error, FileNotFoundError) or code == 404:
        if writes:
            return StorageError(f"{what}: {said}: not found; {ways.container}")
        return StorageNotFoundError(f"{what}: not found")
    if _QUOTA.search(words):
        return StorageError(f"{what}: {said}; {DISK_WAYS_OUT[errno.EDQUOT]}")
    if _PASSING.search(said) or code in _PASSING_CODES:
        hint = f"; {ways.address}" if _ADDRESS.search(words) else ""
        return StorageError(f"{what}: {said}{hint}", retryable=True)
    if code == 401 or _CREDENTIALS.search(words):
        return StorageError(f"{what}: {said}; {ways.credentials}")
    if code == 403 or isinstance(error, PermissionError) or _PERMISSION.search(words):
        return StorageError(f"{what}: {said}; {ways.permission}")
    if _ADDRESS.search(words):
        return StorageError(f"{what}: {said}; {ways.address}", retryable=True)
    if isinstance(error, NotImplementedError):
        return StorageError(f"{what}: {said or 'this kind of store cannot do that'}; take another kind of storage path")
    return StorageError(f"{what}: {said}", retryable=_may_pass(error, classes))


def one_line(text: str) -> str:
    """Without line breaks, and not longer than a status can show."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _may_pass(error: Exception, classes: set[str]) -> bool:
    if classes & _LASTING_CLASSES:
        return False
    if classes & _PASSING_CLASSES or isinstance(error, ConnectionError | TimeoutError):
        return True
    # An OSError without a number is a library's own; a wrong guess costs some tries here, and a run if not retried.
    return isinstance(error, OSError) and (error.errno is None or error.errno in _PASSING_ERRNO)


def _said(error: Exception) -> str:
    text = one_line(_STACK.split(_RPC_ERROR.sub(r"\1: \2", str(error)))[0]).rstrip(".")
    # Names such as FileNotFoundError add nothing; without any text they are all there is.
    return text or type(error).__name__


def _code(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    for value in (getattr(error, "code", None), getattr(error, "status", None), getattr(response, "status_code", None)):
        if isinstance(value, int | str) and str(value).isdigit():
            return int(value)
    return None


def _disk_errno(error: Exception) -> int:
    # EACCES and EPERM of a server are that server's, told by PermissionError below.
    number = error.errno if isinstance(error, OSError) and isinstance(error.errno, int) else 0
    return 0 if number in (errno.EACCES, errno.EPERM) and error.filename is None else number  # type: ignore[attr-defined]


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _classes(error: BaseException) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
