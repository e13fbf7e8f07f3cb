"""What a store said, whether another try can help, and what the reader can do about it."""

from __future__ import annotations

import errno
from dataclasses import dataclass


class StorageError(Exception):
    """A store refused or failed. The message carries the store's own words and the way out.

    Attributes:
        retryable: Another try may succeed (throttling, a server error, a lost connection).
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class StorageNotFoundError(StorageError):
    """The object or file is not there."""


@dataclass(frozen=True, slots=True)
class WaysOut:
    """What to try, in the terms of one kind of store."""

    credentials: str = "check the credentials that the client of this store takes from its environment"
    permission: str = "allow these credentials to list, read, write and delete below the storage path"
    container: str = "create it, or correct the storage path"  # no such bucket, container or root directory
    address: str = "check the address in the storage path, and that this machine reaches it"


# What no wait mends on a disk or a mount.
DISK_WAYS_OUT = {
    errno.EACCES: "make the directory writable for the pod's user (podTemplate securityContext.fsGroup), or mount it",
    errno.EPERM: "make the directory writable for the pod's user (podTemplate securityContext.fsGroup), or mount it",
    errno.ENOSPC: "the disk is full: free space, lower checkpoints.keep, or take a larger volume",
    errno.EDQUOT: "the quota is used up: free space, lower checkpoints.keep, or raise the quota",
    errno.EROFS: "the volume is mounted read-only: mount it read-write, or take another storage path",
    errno.ENOTDIR: "a part of the path is a file: take another storage path",
    errno.EISDIR: "a directory has this name: take another storage path, or remove the directory",
    errno.ENAMETOOLONG: "the name is too long for this file system: shorten it",
    errno.ELOOP: "symbolic links lead in a circle: remove the one that leads back",
}


def disk_error(what: str, error: OSError) -> StorageError:
    """What a file system said, as `cannot <what>: ...`, and what helps.

    What has a way out is nothing that a wait mends: the mount, its quota or its permissions must change.
    """
    way_out = DISK_WAYS_OUT.get(error.errno or 0)
    said = error.strerror or str(error)
    return StorageError(f"cannot {what}: {said}" + (f"; {way_out}" if way_out else ""), retryable=way_out is None)


def missing_package(scheme: str, package: str, extra: str) -> StorageError:
    """The client library of a store is not installed."""
    return StorageError(f'{scheme} storage needs {package}: pip install "paceline[{extra}]" (in the image of the job)')
