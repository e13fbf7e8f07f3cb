"""Pruning on a real buildah storage: the layers of the newest build stay, those of older ones go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from e2e.cluster import bases, prune

pytestmark = pytest.mark.skipif(
    shutil.which("buildah") is None, reason="needs buildah (`python -m e2e.cluster build` installs it)"
)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    bases.storage().mkdir(parents=True)
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY below /\nCOPY above /\n")
    (folder / "below").write_text("always the same")
    return folder


def build(context: Path, content: str) -> str:
    (context / "above").write_text(content)
    options = ("--layers", "--isolation=chroot", "--format=docker", "--tag", "localhost/demo:dev")
    return bases.buildah("bud", *options, str(context))


def images() -> list[str]:
    return bases.buildah("images", "--all", "--quiet").split()


def test_layers_of_older_builds_go_and_the_next_build_still_finds_its_own(context: Path) -> None:
    for content in ("1", "2", "3"):
        build(context, content)
    before = len(images())
    prune.images()
    assert len(images()) == before - 2
    assert build(context, "3").count("Using cache") == 2


def test_an_image_that_was_built_long_ago_goes_whole(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(context, "1")
    monkeypatch.setattr(prune, "UNUSED_S", -1.0)
    prune.images()
    assert images() == []
