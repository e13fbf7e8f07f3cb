"""What of the image cache may go: each change of a source makes another image, and none is ever asked for by name.

Kept are the newest two of each image that were used within two weeks, everything that a bed has loaded, and what was
used within the last hour, which another process may be about to load. Nodes have hard links of their own: what goes
here stays with them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import bases, imagestore, paths, state
from e2e.cluster.bases import BASES, buildah_alone

KEPT = 2
UNUSED_S = 14 * 86400.0
RECENT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached file: a version of `image`, last used at `used` (seconds since the epoch)."""

    path: Path
    image: str
    used: float


def images() -> int:
    """Delete old image archives, what they were unpacked to, and layers of builds that no image has any more.

    Returns how many versions of images were deleted.
    """
    now, gone = time.time(), 0
    for path in old(_archives(), now):
        path.unlink(missing_ok=True)
        imagestore.used_file(path).unlink(missing_ok=True)
    with paths.lock("images"):
        beds = {Path(image) for record in map(state.load, state.names()) if record for image in record.images}
        for path in old(_lists(), now, beds):
            path.unlink(missing_ok=True)
            gone += 1
        remove_unreferenced(imagestore.store(), now)
    _prune_buildah(now)
    return gone


def old(entries: Iterable[Entry], now: float, protected: Iterable[Path] = ()) -> list[Path]:
    """The files that may go."""
    by_image: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_image[entry.image].append(entry)
    gone = []
    for versions in by_image.values():
        versions.sort(key=lambda entry: entry.used, reverse=True)
        for number, entry in enumerate(versions):
            age_s = now - entry.used
            if (number >= KEPT or age_s > UNUSED_S) and age_s > RECENT_S:
                gone.append(entry.path)
    safe = set(protected)
    return [path for path in gone if path not in safe]


def remove_unreferenced(store: Path, now: float) -> None:
    """Delete layers and blobs that no list in the store names, but for the youngest: their list is being written."""
    wanted: set[str] = set()
    for path in (store / "archives").glob("*.json"):
        for image in json.loads(path.read_text()):
            wanted |= digests(image)
    for folder in (store / "layers", store / "blobs" / "sha256"):
        for entry in folder.iterdir() if folder.exists() else ():
            if entry.name in wanted or now - entry.lstat().st_ctime < RECENT_S:
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def digests(image: Any) -> set[str]:
    """Hashes of all that one image of a list is made of: manifest, configuration, packed and unpacked layers."""
    descriptors = [image["manifest"], image["config"], *image["layers"]]
    found = [*(descriptor["digest"] for descriptor in descriptors), *image["diffIDs"]]
    return {str(digest).rpartition(":")[2] for digest in found}


def _archives() -> list[Entry]:
    built = paths.cache() / "images" / "built"
    found = []
    for path in built.glob("*.tar"):
        used = imagestore.used_file(path)
        found.append(Entry(path, path.name.rpartition("-")[0], (used if used.exists() else path).stat().st_mtime))
    return found


def _lists() -> list[Entry]:
    lists = (imagestore.store() / "archives").glob("*.json")
    return [Entry(path, " ".join(sorted(imagestore.names(path))), path.stat().st_mtime) for path in lists]


def _prune_buildah(now: float) -> None:
    if not shutil.which("buildah") or not bases.storage().exists():
        return
    with paths.lock(bases.LOCK):
        for image in json.loads(buildah_alone("images", "--json") or "[]") or []:
            names = image.get("names") or []
            if names and not stale(names, _created(image), now):
                continue
            for name in names:
                buildah_alone("rmi", name, check=False)
        # Layers of builds before; those below a named image stay, so the next build of it finds them.
        buildah_alone("rmi", "--prune", check=False)


def stale(names: Iterable[str], created: float, now: float) -> bool:
    """Whether an image of builds may go: made long ago, and no base of today."""
    return now - created > UNUSED_S and not set(names) & {base.image for base in BASES}


def _created(image: Any) -> float:
    """When an image of `buildah images --json` was made."""
    return float(image["created"])
