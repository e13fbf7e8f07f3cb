"""Where checkpoints and results lie: one small protocol, one implementation per kind of store.

`resolve("s3://bucket/path")` gives the store and the path in it. Importing this package imports no third-party module;
a store imports its own client library when it is first used.
"""

from paceline.storage._arrow_filesystem import to_arrow
from paceline.storage._base import Entry, RangeReader, Storage
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._resolve import join, resolve, supported_schemes

__all__ = [
    "Entry",
    "RangeReader",
    "Storage",
    "StorageError",
    "StorageNotFoundError",
    "join",
    "resolve",
    "supported_schemes",
    "to_arrow",
]
