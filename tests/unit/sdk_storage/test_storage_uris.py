"""What a storage path means, and what it must not say."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pyarrow import fs

from paceline.storage import Storage, StorageError, join, resolve, supported_schemes, to_arrow

SDK = Path(__file__).parents[3] / "sdk"


@pytest.mark.parametrize(
    ("uri", "scheme", "path", "again"),
    [
        ("/mnt/shared/runs", "file", "/mnt/shared/runs", "/mnt/shared/runs"),
        ("file:///mnt/a%20b/", "file", "/mnt/a b", "/mnt/a b"),
        ("s3://bucket/a/b/", "s3", "bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket", "s3", "bucket", "s3://bucket"),
        ("s3://b/a#1//c%20d", "s3", "b/a#1/c%20d", "s3://b/a#1/c%20d"),
        ("gs://bucket/a", "gs", "bucket/a", "gs://bucket/a"),
        ("gcs://bucket/a?project=p", "gs", "bucket/a", "gs://bucket/a?project=p"),
        ("gs://b/a?endpoint_override=h:1&scheme=http&anonymous=1", "gs", "b/a",
         "gs://b/a?endpoint_override=h:1&scheme=http&anonymous=true"),
        ("hdfs://nn:9000/a/b?user=ann", "hdfs", "/a/b", "hdfs://nn:9000/a/b?user=ann"),
        ("hdfs://ann@nn:9000/a", "hdfs", "/a", "hdfs://nn:9000/a?user=ann"),
        ("hdfs:///a", "hdfs", "/a", "hdfs:///a"),
        ("webhdfs://nn:9870/a", "webhdfs", "/a", "webhdfs://nn:9870/a"),
        ("memory://a/b", "memory", "/a/b", "memory:///a/b"),
    ],
)  # fmt: skip
def test_a_path_chooses_its_store(uri: str, scheme: str, path: str, again: str) -> None:
    storage, inside = resolve(uri)
    assert (storage.scheme, inside, storage.uri(inside)) == (scheme, path, again)
    assert resolve(again)[1] == path


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "is empty"),
        ("gs://b/x?nosuch=1", "unknown key 'nosuch' in a gs:// storage path: use endpoint_override, scheme, project"),
        ("gs://b/x?anonymous=perhaps", "use true or false"),
        ("gs://b/x?scheme=ftp", "use http or https"),
        ("gs:///x", "names no bucket"),
        ("hdfs://nn:1/x?replication=3", "unknown key 'replication' in an hdfs:// storage path: use user"),
        ("hdfs://nn:port/x", "needs a host"),
        ("webhdfs:///x", "needs a host"),
        ("memory://x?nosuch=1", "unknown key 'nosuch' in a memory:// storage path: use global_store"),
        ("memory://x?global_store=perhaps", "use true or false"),
        ("sftp://host/x?port=many", "unknown key 'port'|whole number|paramiko"),
        ("s3a://b/x", "write s3://"),
        ("nosuch://b/x", "nosuch:// are not supported: use a plain path, file://, s3://, gs://, hdfs://, webhdfs://"),
        ("abfs://c@a.dfs.core.windows.net/x", "adlfs.*paceline\\[fsspec\\]"),
        ("s3://b/a/../../other", "has a '.' or '..' in it"),
        ("gs://b/./x", "has a '.' or '..' in it"),
        ("file:///x?a=b", "it takes none"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused_with_the_way_out(uri: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        resolve(uri)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://HUSHHUSH:HUSHHUSH@bucket/x", "AWS_ACCESS_KEY_ID"),
        ("s3://HUSHHUSH@bucket/x", "AWS_ACCESS_KEY_ID"),
        ("s3://b/x?access_key=HUSHHUSH", "'access_key'.*AWS_ACCESS_KEY_ID"),
        ("s3://b/x?secret_key=HUSHHUSH&region=x", "'secret_key'.*AWS_ACCESS_KEY_ID"),
        ("gs://b/x?token=HUSHHUSH", "'token'.*GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://HUSHHUSH@b/x", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("hdfs://ann:HUSHHUSH@nn:9000/x", "Kerberos"),
        ("webhdfs://nn:1/x?password=HUSHHUSH", "filesystem object"),
        ("abfs://c@a/x?account_key=HUSHHUSH", "'account_key'"),
        ("abfs://c@a/x?sas_token=HUSHHUSH", "'sas_token'"),
        ("ftp://ann:HUSHHUSH@host/x", "environment of the client"),
    ],
)
def test_a_credential_in_a_path_is_refused_and_not_repeated(uri: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        resolve(uri)
    assert "HUSH" not in str(caught.value)


def memory() -> Any:
    return fsspec.filesystem("memory")


@pytest.mark.parametrize(
    ("filesystem", "path", "kind", "inside"),
    [
        pytest.param(fs.LocalFileSystem(), "/tmp/x", "LocalStorage", "/tmp/x", id="pyarrow local"),
        pytest.param(fsspec.filesystem("file"), "/tmp/x", "LocalStorage", "/tmp/x", id="fsspec local"),
        pytest.param(fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file"))), "/tmp/x", "LocalStorage", "/tmp/x",
                     id="wrapped local"),
        pytest.param(fs.SubTreeFileSystem("/tmp", fs.LocalFileSystem()), "x/", "ArrowStorage", "x", id="subtree"),
        pytest.param(fs.S3FileSystem(anonymous=True, region="x"), "b/x", "ArrowStorage", "b/x", id="pyarrow s3"),
        pytest.param(memory(), "x/y", "FsspecStorage", "/x/y", id="fsspec memory"),
        pytest.param(fs.PyFileSystem(fs.FSSpecHandler(memory())), "/x/y/", "FsspecStorage", "/x/y", id="wrapped"),
    ],
)  # fmt: skip
def test_a_filesystem_object_holds_the_path(filesystem: Any, path: str, kind: str, inside: str) -> None:
    storage, found = resolve(path, filesystem)
    assert (type(storage).__name__, found) == (kind, inside)
    assert resolve(storage.uri(found), filesystem)[1] == found


def test_an_object_of_gcs_or_hdfs_keeps_the_promises_of_its_scheme() -> None:
    from fsspec.implementations.webhdfs import WebHDFS
    from gcsfs.core import GCSFileSystem

    for made, path, scheme in (
        (GCSFileSystem(token="anon", endpoint_url="http://127.0.0.1:1"), "b/x", "gs"),
        (WebHDFS("127.0.0.1", 1), "/x", "webhdfs"),
    ):
        storage, inside = resolve(path, made)
        assert (storage.scheme, storage.exclusive, inside) == (scheme, True, path)


def test_a_scheme_beside_an_object_is_refused() -> None:
    with pytest.raises(StorageError, match="no scheme beside a filesystem object: write 'bucket/x'"):
        resolve("s3://bucket/x?region=y", fs.LocalFileSystem())


def test_what_is_no_filesystem_is_refused() -> None:
    with pytest.raises(StorageError, match="not PosixPath"):
        resolve("x", Path("/tmp"))


def test_join_adds_names_before_the_options() -> None:
    assert join("gs://b/p?project=x", "run", "checkpoint_000001") == "gs://b/p/run/checkpoint_000001?project=x"
    assert join("plain/p", "a") == "plain/p/a"
    for scheme in ("s3://", "gs://", "hdfs://", "webhdfs://"):
        assert scheme in supported_schemes()


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("/tmp/x", "local"),
        ("s3://b/x?endpoint_override=http://h:1&region=r", "s3"),
        ("gs://b/x?anonymous=true&endpoint_override=http://h:1", "gcs"),
        ("memory://x", "py::fsspec+memory"),
    ],
)
def test_the_pyarrow_filesystem_of_a_store(uri: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    storage, path = resolve(uri)
    filesystem, inside = to_arrow(storage, path)
    assert (filesystem.type_name, inside) == (kind, path)


def test_a_missing_pyarrow_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StorageError, match=r'pip install "paceline\[arrow\]"'):
        to_arrow(*resolve("/tmp/x"))


def check(uri: str) -> None:
    storage, path = resolve(uri)
    storage.check(path)


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("gs://b/x", "gcsfs.core", "gcs"),
        ("hdfs://h:1/x", "hdfs_native", "hdfs"),
        ("webhdfs://h:1/x", "fsspec.implementations.webhdfs", "hdfs"),
        ("memory://x", "fsspec", "fsspec"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    uri: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match=rf'pip install "paceline\[{extra}\]"') as caught:
        check(uri)
    assert not caught.value.retryable


def test_importing_the_package_and_naming_stores_imports_no_client() -> None:
    code = """
        import sys
        before = set(sys.modules)
        import paceline.storage as s
        for uri in ("/x", "s3://b/x", "gs://b/x", "hdfs://h:1/x", "webhdfs://h:1/x"):
            s.resolve(uri)
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(new - set(sys.stdlib_module_names) - {"paceline"}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_store_of_the_contract_has_the_protocol() -> None:
    names = [name for name in dir(Storage) if not name.startswith("_")]
    for uri in ("/x", "s3://b/x", "gs://b/x", "hdfs://h:1/x", "webhdfs://h:1/x", "memory://x"):
        storage, _ = resolve(uri)
        assert [name for name in names if not hasattr(storage, name)] == []
