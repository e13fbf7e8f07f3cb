"""What a store said, whether another try can help, and what the reader can do about it."""

from __future__ import annotations


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
