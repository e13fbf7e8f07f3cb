"""HttpFS and old name nodes know no options of RENAME: they answer `{"boolean": false}` where the target is there."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from paceline.storage._hdfs_web import WebHdfsTree


class PlainNameNode:
    """Renames only onto a free name, and takes no notice of options."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def _call(self, op: str, method: str = "get", path: str = "", **given: Any) -> Any:
        if op == "DELETE":
            self.names.discard(path)
            return SimpleNamespace(content=b"")
        done = given["destination"] not in self.names
        if done:
            self.names = self.names - {path} | {given["destination"]}
        answer = {"boolean": done}
        return SimpleNamespace(content=json.dumps(answer).encode(), json=lambda: answer)


def tree(node: PlainNameNode, monkeypatch: pytest.MonkeyPatch) -> WebHdfsTree:
    monkeypatch.setattr(WebHdfsTree, "filesystem", node)
    return WebHdfsTree("host:1")


def test_a_rename_onto_a_taken_name_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    node = PlainNameNode("/partial", "/taken")
    with pytest.raises(FileExistsError):
        tree(node, monkeypatch).rename("/partial", "/taken", replace=False)
    assert node.names == {"/partial", "/taken"}


@pytest.mark.parametrize("replace", [True, False])
def test_a_rename_onto_a_free_name_is_done(replace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = PlainNameNode("/partial")
    tree(node, monkeypatch).rename("/partial", "/free", replace=replace)
    assert node.names == {"/free"}


def test_a_replacement_takes_the_old_file_away_first(monkeypatch: pytest.MonkeyPatch) -> None:
    node = PlainNameNode("/partial", "/taken")
    tree(node, monkeypatch).rename("/partial", "/taken", replace=True)
    assert node.names == {"/taken"}
