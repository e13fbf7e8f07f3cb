"""From a source to its units, its schema and its row counts; of the processes of a machine one asks the store."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from paceline.data import _files, _formats, _shared, _units
from paceline.data._sources import Source
from paceline.data._stores import Stores

_AT_ONCE = 16  # footers that are asked for at the same time


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset of which everything but the rows is known."""

    what: str  # begins its errors
    schema: pa.Schema
    units: Sequence[_units.Unit]
    counts: Sequence[Sequence[int]]  # of each unit, the rows of its pieces


@dataclass(frozen=True, slots=True)
class _Place:
    """A file, and which of the source's paths led to it."""

    origin: int
    path: str
    size: int


def opened(source: Source, shared_as: str | None) -> Opened:
    """See `Source.open`."""
    what = f"datasets[{source.name!r}]"
    if isinstance(source.data, pa.Table):
        table = _units.Table(source.data, what)
        return Opened(what, source.data.schema, [table], [table.look().counts])
    if shared_as is None:
        return _look(source, what)[0]
    # Not what the object holds: two of the same name and run are the same.
    key = "\n".join([shared_as, source.name, source.format or "", *source.paths])
    own: list[Opened] = []

    def look() -> dict[str, Any]:
        found, places = _look(source, what)
        own.append(found)
        return _told(found, places)

    told = _shared.once(key, look)
    return own[0] if own else _from_told(source, what, told)


def _look(source: Source, what: str) -> tuple[Opened, list[_Place]]:
    from concurrent.futures import ThreadPoolExecutor

    places: list[_Place] = []
    stores = Stores()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        if source.data is not None:
            units = _of_dataset(source.data)
        else:
            found = pool.map(lambda path: _files.find(what, path, source.format, stores), source.paths)
            places = [_Place(origin, file.path, file.size) for origin, files in enumerate(found) for file in files]
            units = _of_places(source, what, places, stores)
        looks = list(pool.map(lambda unit: unit.look(), units))
    schema = source.data.schema if source.data is not None else _one_schema(units, looks)
    return Opened(what, schema, units, [look.counts for look in looks]), places


def _of_dataset(dataset: Any) -> list[_units.Unit]:
    return [
        _units.Fragment(fragment, getattr(fragment, "path", "") or f"fragment {number}")
        for number, fragment in enumerate(dataset.get_fragments())
    ]


def _of_places(source: Source, what: str, places: Sequence[_Place], stores: Stores) -> list[_units.Unit]:
    kind = _formats.of(what, [place.path for place in places], source.format)
    filesystems = [stores.filesystem(path) for path in source.paths]
    if kind in ("arrow", "parquet"):
        made = _units.ArrowFile if kind == "arrow" else _units.ParquetFile
        return [made(filesystems[place.origin], place.path, place.size) for place in places]
    form = ds.CsvFileFormat() if kind == "csv" else ds.JsonFileFormat()
    return [
        # A size that is known saves a request for each file.
        _units.Fragment(
            form.make_fragment(place.path, filesystems[place.origin], file_size=place.size), place.path, place.size
        )
        for place in places
    ]


def _one_schema(units: Sequence[_units.Unit], looks: Sequence[_units.Look]) -> pa.Schema:
    """That of the first file; the others need its columns, in any order, and of types that can be cast."""
    first = looks[0].schema
    for unit, look in zip(units, looks, strict=True):
        if missing := [name for name in first.names if name not in look.schema.names]:
            raise ValueError(
                f"{unit.name} has no column {missing[0]!r}, which {units[0].name} has: the files of a dataset need the"
                " same columns"
            )
    return first.remove_metadata()


def _told(found: Opened, places: Sequence[_Place]) -> dict[str, Any]:
    return {
        "schema": base64.b64encode(found.schema.serialize().to_pybytes()).decode(),
        "places": [[place.origin, place.path, place.size] for place in places],
        "counts": [list(counts) for counts in found.counts],
    }


def _from_told(source: Source, what: str, told: dict[str, Any]) -> Opened:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(told["schema"])))
    places = [_Place(*place) for place in told["places"]]
    units = _of_dataset(source.data) if source.data is not None else _of_places(source, what, places, Stores())
    return Opened(what, schema, units, told["counts"])
