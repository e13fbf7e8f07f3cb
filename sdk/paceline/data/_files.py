"""Which files does a path mean? A file, all files of a directory, or what a pattern matches."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.data import _formats
from paceline.data._stores import Stores

if TYPE_CHECKING:
    from paceline.storage import Storage

_WILD = re.compile(r"[*\[]")
_WILD_HERE = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a dataset."""

    path: str  # as its filesystem takes it, without a scheme
    size: int  # bytes


def is_remote(path: str) -> bool:
    """Whether it is a URI of a store; `file://` is not."""
    return "://" in path and not path.startswith(("file://", "local://"))


def check(what: str, path: str, given_format: str | None) -> None:
    """What can be known without a request: a store's URI is well formed; a local path is there and has a format.

    Args:
        what: Begins the error: `datasets['train']`.
        path: As the user wrote it.
        given_format: None: the suffixes tell.
    Raises:
        FileNotFoundError: Nothing is there, or the pattern matches nothing.
        ValueError: The URI or the format is not known.
    """
    from paceline.storage import StorageError

    try:
        storage, inside = Stores().storage(path)
        if storage.scheme == "file":
            _formats.of(what, [file.path for file in _find(what, storage, inside, path, given_format)], given_format)
    except StorageError as e:
        raise ValueError(f"{what}: {e}") from None
    last = inside.rpartition("/")[2]
    if storage.scheme != "file" and given_format is None and _WILD.search(last) and re.search(r"\.\w+$", last):
        _formats.of(what, [last], None)


def find(what: str, path: str, given_format: str | None, stores: Stores) -> list[File]:
    """The files in the order of their names. Lists a directory where there is one.

    Args:
        what: Begins the error.
        path: As the user wrote it.
        given_format: None: the suffixes tell.
        stores: Of this dataset.
    Raises:
        FileNotFoundError: There are none.
        ValueError: The URI is not understood.
        paceline.storage.StorageError: The store refused.
    """
    from paceline.storage import StorageError

    try:
        storage, inside = stores.storage(path)
    except StorageError as e:
        raise ValueError(f"{what}: {e}") from None
    return _find(what, storage, inside, path, given_format)


def _find(what: str, storage: Storage, inside: str, shown: str, given_format: str | None) -> list[File]:
    wild = (_WILD_HERE if storage.scheme == "file" else _WILD).search(inside)
    # A name that really has a bracket in it is that file.
    if wild is None or (storage.scheme == "file" and Path(inside).exists()):
        return _plain(what, storage, inside, shown, given_format)
    base = inside[: inside.rfind("/", 0, wild.start())] or "/"
    wanted = _pattern(inside[len(base) :].lstrip("/"))
    if storage.scheme == "file" and not Path(base).is_dir():
        raise FileNotFoundError(f"{what}: {shown} matches no file: {base} is not there")
    found = [File(_below(base, e.name), e.size) for e in storage.files(base) if wanted.fullmatch(e.name)]
    if not found:
        raise FileNotFoundError(f"{what}: {shown} matches no file")
    return sorted(found, key=lambda file: file.path)


def _plain(what: str, storage: Storage, inside: str, shown: str, given_format: str | None) -> list[File]:
    if storage.scheme != "file" or not Path(inside).is_dir():
        size = storage.size(inside) if inside.strip("/").count("/") or storage.scheme == "file" else None
        if size is not None:
            return [File(inside, size)]
        if storage.scheme == "file":
            raise FileNotFoundError(f"{what}: {shown} is not there" + _hint(shown))
    visible = [e for e in storage.files(inside) if not _is_hidden(e.name)]
    found = [e for e in visible if given_format or _formats.by_suffix(e.name)]
    if not found:
        there = f"has {len(visible)} files, none of a known format" if visible else "is not there, or has no files"
        raise FileNotFoundError(f"{what}: {shown} {there}: known are {_formats.KNOWN}")
    return sorted((File(_below(inside, e.name), e.size) for e in found), key=lambda file: file.path)


def _hint(shown: str) -> str:
    return "" if os.path.isabs(shown) else f" (looked in {Path.cwd()})"  # noqa: PTH117


def _below(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/{name}"


def _is_hidden(name: str) -> bool:
    """What writers leave beside the data: `_SUCCESS`, `_temporary/`, `.crc`."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _pattern(text: str) -> re.Pattern[str]:
    """`*`, `?` and `[...]` stay within a name, `**` crosses directories."""
    out, rest = [], text
    while rest:
        if rest.startswith("**/"):
            out.append("(?:.*/)?")
            rest = rest[3:]
        elif rest.startswith("*"):
            out.append(".*" if rest == "**" else "[^/]*")
            rest = rest.lstrip("*")
        elif rest.startswith("?"):
            out.append("[^/]")
            rest = rest[1:]
        elif found := re.match(r"\[(!?)(\]?[^\]]*)\]", rest):
            out.append(f"[{'^' if found[1] else ''}{re.escape(found[2]).replace(chr(92) + '-', '-')}]")
            rest = rest[found.end() :]
        else:
            out.append(re.escape(rest[0]))
            rest = rest[1:]
    return re.compile("".join(out), re.DOTALL)
