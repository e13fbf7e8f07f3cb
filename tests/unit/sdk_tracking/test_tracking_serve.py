"""Event files are copied as they grow; what is wrong is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline import _contract as c
from paceline.storage import Storage, resolve
from paceline.tracking import serve

NAME = "events.out.tfevents.0000000001.host"


class WholeFiles:
    """A store that cannot give parts of a file."""

    def __init__(self, storage: Storage) -> None:
        self.files, self.read = storage.files, storage.read


@pytest.mark.parametrize("whole", [False, True])
def test_new_and_appended_events_are_fetched_and_nothing_else(tmp_path: Path, whole: bool) -> None:
    run = tmp_path / "run"
    (run / "tensorboard").mkdir(parents=True)
    (run / NAME).write_bytes(b"one")
    (run / "tensorboard" / f"{NAME}.2").write_bytes(b"a")
    (run / "result.json").write_bytes(b"{}")
    storage, path = resolve(str(run))
    copy = serve.Copy(WholeFiles(storage) if whole else storage, path, tmp_path / "copy")  # type: ignore[arg-type]
    assert copy.update() == 2
    assert copy.update() == 0
    with (tmp_path / "copy" / NAME).open("rb") as reader:  # as TensorBoard does
        assert reader.read() == b"one"
        (run / NAME).write_bytes(b"onetwo")
        assert copy.update() == 1
        assert reader.read() == b"two"
    (run / NAME).write_bytes(b"new")  # another run of the same name
    assert copy.update() == 1
    found = {str(p.relative_to(tmp_path / "copy")): p.read_bytes() for p in (tmp_path / "copy").rglob("*.*.*")}
    assert found == {NAME: b"new", f"tensorboard/{NAME}.2": b"a"}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "PACELINE_STORAGE_PATH is not set"),
        ({c.STORAGE_PATH: "s3://bucket"}, "PACELINE_EXPERIMENT_NAME is not set"),
        # This environment has no TensorBoard.
        ({c.STORAGE_PATH: "s3://bucket", c.EXPERIMENT_NAME: "digits"}, "TensorBoard needs the package tensorboard"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    environ: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (c.STORAGE_PATH, c.EXPERIMENT_NAME):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert serve.main([]) == 64
    assert said in capsys.readouterr().err


def test_the_run_is_named_as_in_its_pods() -> None:
    assert serve.run_directory({c.STORAGE_PATH: "s3://bucket/runs", c.EXPERIMENT_NAME: "a"}) == "s3://bucket/runs/a"
