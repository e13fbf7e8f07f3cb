from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from e2e.cluster import hadoop
from e2e.cluster.bed import Bed
from e2e.cluster.build import BuildError
from e2e.cluster.components import FAKE_GCS, wanted
from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import HdfsServer, Ports
from e2e.cluster.processes import BedProcess
from e2e.cluster.state import Options, State


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path))


def pinned(jars: Path) -> str:
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in jars.iterdir())


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "a.jar").write_text("a")
    (folder / "b.jar").write_text("b")
    return folder


def test_the_pinned_jars_are_taken(jars: Path) -> None:
    hadoop.check_jars(jars, pinned(jars))


@pytest.mark.parametrize("change", ["other content", "missing", "one more"])
def test_any_other_jar_is_refused_by_name(change: str, jars: Path) -> None:
    lines = pinned(jars)
    if change == "other content":
        (jars / "b.jar").write_text("c")
    elif change == "missing":
        (jars / "b.jar").unlink()
    else:
        lines = lines.splitlines()[0] if "a.jar" in lines.splitlines()[0] else lines.splitlines()[1]
    with pytest.raises(BuildError, match=r"not the pinned ones \(jars.sha256\): b\.jar"):
        hadoop.check_jars(jars, lines)


def test_without_java_the_sentence_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None if program in ("mvn", "javac") else f"/usr/bin/{program}")
    assert "needs javac, mvn: install Java 17 or 21 and Maven (Debian: default-jdk-headless maven)" in hadoop.missing()
    with pytest.raises(BuildError, match="needs javac, mvn"):
        hadoop.ensure()


def test_what_is_fetched_already_needs_java_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hadoop.folder().mkdir(parents=True)
    (hadoop.folder() / "server.jar").touch()
    monkeypatch.setattr("shutil.which", lambda program: "/usr/bin/java" if program == "java" else None)
    assert hadoop.missing() == ""


def test_a_bed_builds_the_gcs_server_only_when_it_was_asked_for() -> None:
    assert FAKE_GCS not in wanted(nodes=0, kwok_nodes=0, s3=True, kubectl=False)
    assert FAKE_GCS in wanted(nodes=0, kwok_nodes=0, s3=False, gcs=True, kubectl=False)


def test_a_bed_tells_how_to_get_a_store_that_it_was_made_without() -> None:
    record = State("demo", 3, Options(nodes=0, s3=False, gcs=True), {})
    record.save()
    bed = Bed(record)
    assert list(bed.stores) == ["gcs"]
    assert bed.gcs.endpoint == f"http://{record.addresses.services}:4443"
    with pytest.raises(RuntimeError, match=r"made without hdfs: use bed\(\.\.\., hdfs=True\)"):
        _ = bed.hdfs


def test_a_server_keeps_its_ports_and_folder_in_its_command_line(tmp_path: Path) -> None:
    gcs = GcsServer(BedProcess("unit", "gcs", tmp_path), tmp_path / "gcs", "127.0.0.1", 4000)
    assert {f"-filesystem-root={tmp_path / 'gcs'}", "-port=4000"} < set(gcs.command()[0])
    hdfs = HdfsServer(BedProcess("unit", "hdfs", tmp_path), tmp_path / "hdfs", "127.0.0.1", Ports(1, 2, 3, 4, 5))
    command, _ = hdfs.command()
    assert list(command)[-7:] == [str(tmp_path / "hdfs"), "127.0.0.1", "1", "2", "3", "4", "5"]
    assert (hdfs.hdfs_uri, hdfs.webhdfs_uri) == ("hdfs://127.0.0.1:1", "webhdfs://127.0.0.1:2")
