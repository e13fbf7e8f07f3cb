"""What a bed was made of: written before anything is started, so that a later process can reuse it or clean up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.cluster import paths
from e2e.cluster.slots import Addresses

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked for."""

    nodes: int = 3
    gpus_per_node: int = 4
    kwok_nodes: int = 0
    s3: bool = True
    gcs: bool = False
    hdfs: bool = False
    gang: bool = True

    @property
    def nodeless(self) -> bool:
        """No kubelet, so neither DNS nor kube-proxy."""
        return self.nodes == 0


@dataclass(slots=True)
class State:
    """The record of one bed. `complete` turns true when `up` has succeeded."""

    name: str
    slot: int
    options: Options
    components: dict[str, str]
    nodes: dict[str, int] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    complete: bool = False
    format: int = FORMAT

    @property
    def addresses(self) -> Addresses:
        """Its address ranges."""
        return Addresses(self.slot)

    @property
    def folder(self) -> Path:
        """Its directory."""
        return paths.bed_dir(self.name)

    def save(self) -> None:
        """Write it, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "state.tmp"
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(self.folder / "state.json")


def load(name: str) -> State | None:
    """The bed's record, None where there is none that this version understands."""
    try:
        raw = json.loads((paths.bed_dir(name) / "state.json").read_text())
        return State(**(raw | {"options": Options(**raw["options"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def names() -> list[str]:
    """All beds with a directory, up or not."""
    folder = paths.cache() / "beds"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.exists() else []
