"""What can go wrong for a user of a cluster: a sentence, and the exit code that a command ends with."""

from __future__ import annotations

OK = 0
JOB_FAILED = 1
USAGE = 2
NOT_FOUND = 3
TIMEOUT = 4
CLUSTER = 5
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

EXIT_CODES = """Exit codes: 0 done (wait: the job reached it), 1 the job failed, or a checkpoint is damaged, 2 wrong
usage or manifest, 3 not found, 4 timeout, 5 cluster or store not reachable, not allowed, or Paceline not installed."""

INSTALL = "helm install paceline charts/paceline --namespace paceline-system --create-namespace"


class ClientError(Exception):
    """What was asked for cannot be done; the text tells the user why, and the way out.

    Attributes:
        exit_code: One of the codes of this module, for a command that ends with it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(ClientError):
    """Arguments or a manifest that make no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


class NotFoundError(ClientError):
    """The job, or what belongs to it, is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NOT_FOUND)


class WaitTimeoutError(ClientError):
    """The job did not get there in time; it goes on without us."""

    def __init__(self, message: str) -> None:
        super().__init__(message, TIMEOUT)


class ClusterError(ClientError):
    """The cluster cannot be used. `retryable`: another try a little later may succeed."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message, CLUSTER)
        self.retryable = retryable


class StoreError(ClientError):
    """The storage cannot be used, with the store's own words."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CLUSTER)


class DamagedError(ClientError):
    """A check found what is not as it was stored."""

    def __init__(self, message: str) -> None:
        super().__init__(message, JOB_FAILED)


class ConflictError(ClientError):
    """The object is there already, or has changed meanwhile."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


def from_response(status: int, reason: str, message: str, *, doing: str, is_status: bool) -> ClientError:
    """Turn an answer of the API server that is no success into what the user is told.

    Args:
        status: HTTP status.
        reason: `reason` of the Status object, such as Forbidden; empty without one.
        message: The server's own words.
        doing: What was asked for, such as "get trainjob digits in namespace ml".
        is_status: Whether the body was a Status object. The API server answers a resource that it does not serve with
            plain text.
    """
    said = message.strip().rstrip(".")
    if status == 404 and not is_status:
        return ClusterError(
            "this cluster does not serve TrainJobs (paceline.dev/v1alpha1): the CRD is not installed.\n"
            f"Install Paceline first: {INSTALL}"
        )
    if status == 404:
        return NotFoundError(f"cannot {doing}: {said}")
    if status == 401:
        return ClusterError(f"cannot {doing}: the cluster does not accept these credentials ({said}); log in again")
    if status == 403:
        return ClusterError(
            f"cannot {doing}: forbidden: {said}.\nAsk whoever runs the cluster for a Role that allows it, or choose "
            "another namespace or context"
        )
    if status == 409:
        return ConflictError(f"cannot {doing}: {said}")
    if status in (429, 500, 502, 503, 504):
        return ClusterError(f"cannot {doing}: the API server said {status}: {said}", retryable=True)
    if status in (400, 422):
        return UsageError(f"cannot {doing}: {said}")
    return ClusterError(f"cannot {doing}: the API server said {status} {reason}: {said}")
