"""What `hdfs://` and `webhdfs://` have in common: one name node, spoken to by two clients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from paceline.storage import _uri
from paceline.storage._errors import WaysOut
from paceline.storage._tree import walk


class NameNodeTree(ABC):
    """A rename is atomic, and fails where the target is there: partial name first, then that.

    Args:
        address: `host:port` of the name node.
        user: Empty: as the client finds it in its environment.
        given: A filesystem object of the user's, instead of an address.
    """

    scheme: str
    exclusive = True
    renames = True
    ways = WaysOut(
        credentials="log in by Kerberos (kinit or a keytab in the image), or set HADOOP_TOKEN_FILE_LOCATION",
        permission="name the owner in the storage path (?user=<name>) or HADOOP_USER_NAME, or open the directory to it",
        container="create the directory, or correct the storage path",
        address=(
            "check host and port of the name node in the storage path; this machine must reach it and the data nodes"
        ),
    )

    def __init__(self, address: str, user: str, given: Any) -> None:
        self.address = address
        self.user = user
        self._given = given

    def uri(self, path: str) -> str:
        """With host and port."""
        if self._given is not None:
            return path
        return _uri.write(self.scheme, f"{self.address}{path}", {"user": self.user})

    def prepare(self, path: str) -> None:
        """The directory."""
        self.make_directory(path)

    @abstractmethod
    def make_directory(self, path: str) -> None:
        """With parents; there already is fine."""

    def put_new(self, path: str, data: bytes) -> None:
        """Not asked of it."""
        raise NotImplementedError

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        """Directory by directory."""
        return walk(self._list, directory)

    def directories(self, directory: str) -> list[str]:
        """Right below."""
        return [path.rpartition("/")[2] for path, is_directory, _ in self._list(directory or "/") if is_directory]

    @abstractmethod
    def _list(self, directory: str) -> list[tuple[str, bool, int]]:
        """(full path, is a directory, bytes) of each entry."""
