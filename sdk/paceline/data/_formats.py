"""Which format do files have? By their suffix."""

from __future__ import annotations

from collections.abc import Sequence

SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv",),
    "json": (".json", ".jsonl", ".ndjson"),
    "arrow": (".arrow", ".feather", ".ipc"),
}
"""By format; JSON means an object in each line."""
KNOWN = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
_PACKED = (".gz", ".bz2", ".zst", ".lz4")
_PACKED_FORMATS = ("csv", "json")
# Other names that people use.
_ALIASES = {"ndjson": "json", "jsonl": "json", "feather": "arrow", "ipc": "arrow"}


def check(what: str, name: object) -> str:
    """The format of this name.

    Raises:
        ValueError: There is none.
    """
    found = _ALIASES.get(name, name) if isinstance(name, str) else name
    if found not in SUFFIXES:
        raise ValueError(f"{what} is {name!r}: use {', '.join(SUFFIXES)}")
    return str(found)


def by_suffix(path: str) -> str | None:
    """The format of a file by its name; None where that does not tell."""
    name = path.rpartition("/")[2].lower()
    for suffix in _PACKED:
        if name.endswith(suffix):
            found = by_suffix(name.removesuffix(suffix))
            return found if found in _PACKED_FORMATS else None
    return next((kind for kind, suffixes in SUFFIXES.items() if name.endswith(suffixes)), None)


def of(what: str, paths: Sequence[str], given: str | None) -> str:
    """The one format of these files.

    Args:
        what: Begins the error.
        paths: Names of files, at least one.
        given: What the user says; then the suffixes do not count.
    Raises:
        ValueError: A suffix is not known, or there are two formats.
    """
    if given is not None:
        return check(what, given)
    kinds: dict[str, str] = {}
    for path in paths:
        kind = by_suffix(path)
        if kind is None:
            raise ValueError(
                f"{what}: the name of {path} tells no format: use {KNOWN}, or name the format by DataConfig(format=...)"
            )
        kinds.setdefault(kind, path)
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise ValueError(f"{what} mixes {one} ({first}) and {other} ({second}): give each format a dataset of its own")
    return next(iter(kinds))
