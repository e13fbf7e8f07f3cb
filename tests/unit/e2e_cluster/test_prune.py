from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import bases, imagestore, prune
from e2e.cluster.prune import RECENT_S, UNUSED_S, Entry, old, stale
from e2e.cluster.state import Options, State

NOW = 1_800_000_000.0
HOUR = 3600.0
DAY = 86400.0


def entry(name: str, image: str, age_s: float) -> Entry:
    return Entry(Path(name), image, NOW - age_s)


@pytest.mark.parametrize(
    ("ages", "gone"),
    [
        pytest.param([2 * HOUR, 3 * HOUR], [], id="two"),
        pytest.param([2 * HOUR, 3 * HOUR, 4 * HOUR], [2], id="the third goes"),
        pytest.param([4 * HOUR, 3 * HOUR, 2 * HOUR], [0], id="by age, not by order"),
        pytest.param([60, 120, 180], [], id="what was used just now stays"),
        pytest.param([60, 120, 180, RECENT_S + 1], [3], id="what was used just now counts"),
        pytest.param([HOUR * 2, UNUSED_S + 1], [1], id="two weeks unused"),
        pytest.param([UNUSED_S + 1], [0], id="the only one, two weeks unused"),
    ],
)
def test_the_newest_two_of_an_image_stay_while_they_are_used(ages: list[float], gone: list[int]) -> None:
    entries = [entry(str(number), "torch", age) for number, age in enumerate(ages)]
    assert sorted(old(entries, NOW)) == [Path(str(number)) for number in gone]


def test_each_image_is_counted_by_itself() -> None:
    entries = [entry(f"{image}-{days}", image, days * DAY) for image in ("torch", "operator") for days in (1, 2, 3)]
    assert sorted(old(entries, NOW)) == [Path("operator-3"), Path("torch-3")]


def test_what_a_bed_has_loaded_stays() -> None:
    entries = [entry(str(days), "torch", days * DAY) for days in (1, 2, 3, 20)]
    assert old(entries, NOW, [Path("3")]) == [Path("20")]


def test_a_base_of_today_stays_however_old_and_other_images_go_after_two_weeks() -> None:
    assert not stale([bases.TORCH.image], NOW - 100 * DAY, NOW)
    assert stale(["localhost/paceline-base:torch-0123456789ab"], NOW - 15 * DAY, NOW)
    assert not stale(["docker.io/paceline/operator:dev"], NOW - 13 * DAY, NOW)


class Store:
    """An image store as `imageload` leaves it, with files that are as old as a test wants."""

    def __init__(self) -> None:
        self.path = imagestore.store()
        for folder in ("archives", "layers", "blobs/sha256"):
            (self.path / folder).mkdir(parents=True)

    def image(self, version: str, layers: list[str], age_s: float) -> Path:
        def blob(name: str) -> dict[str, Any]:
            (self.path / "blobs/sha256" / name).write_text(name)
            return {"digest": f"sha256:{name}"}

        for layer in layers:
            (self.path / "layers" / layer / "etc").mkdir(parents=True, exist_ok=True)
        image = {
            "name": "docker.io/paceline/torch:dev",
            "manifest": blob(f"manifest-{version}"),
            "config": blob(f"config-{version}"),
            "layers": [blob(f"packed-{layer}") for layer in layers],
            "diffIDs": [f"sha256:{layer}" for layer in layers],
        }
        path = self.path / "archives" / f"{version}.json"
        path.write_text(json.dumps([image]))
        os.utime(path, (NOW - age_s, NOW - age_s))
        return path

    def names(self) -> set[str]:
        folders = ("archives", "layers", "blobs/sha256")
        return {entry.name for folder in folders for entry in (self.path / folder).iterdir()}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: NOW)
    # Files are made today, NOW lies after it: all are older than an hour.
    return Store()


def test_layers_go_with_the_last_image_that_has_them(store: Store) -> None:
    store.image("new", ["base", "app3"], 2 * HOUR)
    store.image("second", ["base", "app2"], 3 * HOUR)
    store.image("third", ["base", "app1"], 4 * HOUR)
    assert prune.images() == 1
    assert store.names() == {
        *("new.json", "second.json", "base", "app3", "app2", "packed-base", "packed-app3", "packed-app2"),
        *("manifest-new", "manifest-second", "config-new", "config-second"),
    }
    assert prune.images() == 0


def test_the_images_of_a_bed_stay_whole(store: Store) -> None:
    for number in range(4):
        store.image(str(number), [f"layer{number}"], (2 + number) * DAY)
    record = State("demo", 0, Options(), {}, images=[str(store.path / "archives" / "3.json")])
    record.save()
    prune.images()
    assert {"3.json", "layer3", "packed-layer3", "manifest-3", "config-3"} < store.names()
    assert not {"2.json", "layer2"} & store.names()


def test_what_is_being_unpacked_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    half = store.path / "layers" / "half"
    half.mkdir()
    monkeypatch.setattr("time.time", lambda: half.stat().st_ctime + 60)
    prune.images()
    assert half.exists()
    monkeypatch.setattr("time.time", lambda: half.stat().st_ctime + RECENT_S + 60)
    prune.images()
    assert not half.exists()


def test_an_archive_that_was_asked_for_lately_stays_though_it_was_built_long_ago(store: Store, tmp_path: Path) -> None:
    built = tmp_path / "images" / "built"
    built.mkdir()
    for name, used in (("torch-dev-asked", True), ("operator-dev-forgotten", False)):
        archive = built / f"{name}.tar"
        archive.touch()
        os.utime(archive, (NOW - 20 * DAY, NOW - 20 * DAY))
        if used:
            imagestore.used_file(archive).touch()
            os.utime(imagestore.used_file(archive), (NOW - DAY, NOW - DAY))
    prune.images()
    assert sorted(path.name for path in built.iterdir()) == ["torch-dev-asked.tar", "torch-dev-asked.used"]
