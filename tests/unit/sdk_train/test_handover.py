"""Files on their way to the agent: what is linked, what is refused, and what happens when the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from paceline import train
from paceline.train import _handover


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACELINE_STAGING", str(tmp_path / "staging"))
    return tmp_path / "staging"


@pytest.fixture
def source(tmp_path: Path, staging: Path) -> Path:
    made = tmp_path / "source"
    (made / "sub").mkdir(parents=True)
    (made / "sub/m").write_text("m")
    return made


@pytest.mark.parametrize(
    ("link", "target", "said"),
    [
        pytest.param("out", "../beside", "outside of the checkpoint's directory", id="relative link to a directory"),
        pytest.param("out", "/etc", "outside of the checkpoint's directory", id="link to a directory elsewhere"),
        pytest.param("loop", "loop", "leads to itself", id="a link to itself"),
        pytest.param("up", ".", "contains it", id="a link to its own directory"),
        pytest.param("sub/up", "..", "contains it", id="a link to the directory above"),
        pytest.param("gone", "no-such-file", "is not there", id="a link to nothing"),
    ],
)
def test_links_that_lead_to_other_directories_or_round_are_refused(
    source: Path, staging: Path, link: str, target: str, said: str
) -> None:
    (source.parent / "beside").mkdir()
    (source / link).symlink_to(target)
    with pytest.raises(ValueError, match=said):
        _handover.stage(source)
    assert list(staging.iterdir()) == []


def test_a_link_to_a_file_elsewhere_becomes_a_copy_of_it(source: Path, tmp_path: Path, staging: Path) -> None:
    """Caches of downloaded models are such directories."""
    (tmp_path / "blob").write_text("weights")
    (source / "model").symlink_to("../blob")
    staged = _handover.stage(source) / "model"
    assert (staged.is_symlink(), staged.read_text()) == (False, "weights")
    (tmp_path / "blob").write_text("of the next model")
    assert staged.read_text() == "weights"


def test_a_checkpoint_that_is_reached_by_a_link_is_fine(source: Path, tmp_path: Path) -> None:
    (source / "latest").symlink_to("sub")
    (tmp_path / "by-link").symlink_to(source)
    staged = _handover.stage(tmp_path / "by-link")
    assert sorted(p.relative_to(staged).as_posix() for p in staged.rglob("m")) == ["latest/m", "sub/m"]


class FullDisk:
    """Refuses copies until something is freed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._copy = shutil.copyfile
        monkeypatch.setattr(shutil, "copyfile", self)
        monkeypatch.setattr(os, "link", self._no_link)

    def _no_link(self, *_: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    def __call__(self, source: Any, target: Any) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._copy(source, target)


def test_a_full_disk_is_tried_again_after_each_upload(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, asked = FullDisk(monkeypatch), []

    def freed() -> bool:
        asked.append(1)
        disk.full = len(asked) < 3
        return True

    assert (_handover.stage(source, freed=freed) / "sub/m").read_text() == "m"
    assert len(asked) == 3


def test_a_disk_that_came_free_just_before_is_tried_once_more(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)

    def nothing_waits() -> bool:
        disk.full = False
        return False

    assert (_handover.stage(source, freed=nothing_waits) / "sub/m").exists()


def test_a_disk_that_stays_full_is_an_error_with_the_way_out(
    source: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch)
    with pytest.raises(OSError, match=r"no space to keep a checkpoint of 1 bytes .* more ephemeral storage"):
        _handover.stage(source)
    assert list(staging.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "..", "result.json"])
def test_a_bad_name_is_refused_outside_of_a_worker_too(source: Path, name: str) -> None:
    with pytest.raises(ValueError, match="checkpoint_dir_name"):
        train.report({}, checkpoint=train.Checkpoint(source), checkpoint_dir_name=name)
