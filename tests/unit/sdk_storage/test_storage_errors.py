"""What clients raise becomes a sentence with a way out, and a rightful `retryable`."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import aiohttp
import google.auth.exceptions
import pytest
import requests
from gcsfs.retry import HttpError

from paceline.storage import StorageError, StorageNotFoundError, resolve
from paceline.storage._errors import WaysOut
from paceline.storage._tree_errors import told

auth: Any = google.auth.exceptions  # its classes are not typed
WAYS = WaysOut(credentials="CREDENTIALS", permission="PERMISSION", container="CONTAINER", address="ADDRESS")


def rpc(kind: str, message: str) -> RuntimeError:
    return RuntimeError(
        f'RPCError("org.apache.hadoop.{kind}", "{message}\\n\\tat org.apache.hadoop.Some.call(S.java:1)")'
    )


@pytest.mark.parametrize(
    ("error", "way_out", "retryable"),
    [
        pytest.param(HttpError({"code": 401, "message": "Invalid Credentials"}), "CREDENTIALS", False, id="gcs key"),
        pytest.param(OSError("Forbidden: https://x\nann does not have access"), "PERMISSION", False, id="gcs denied"),
        pytest.param(HttpError({"code": 429, "message": "slow down"}), "", True, id="gcs throttled"),
        pytest.param(HttpError({"code": 503, "message": "backend"}), "", True, id="gcs server error"),
        pytest.param(HttpError({"code": 400, "message": "bad name"}), "", False, id="gcs bad request"),
        pytest.param(auth.DefaultCredentialsError("none"), "CREDENTIALS", False, id="no credentials"),
        pytest.param(auth.TransportError("metadata"), "", True, id="metadata server away"),
        pytest.param(aiohttp.ServerDisconnectedError(), "", True, id="connection lost"),
        pytest.param(aiohttp.ClientPayloadError("not all data"), "", True, id="answer cut off"),
        pytest.param(requests.ConnectionError("Failed to establish a new connection"), "ADDRESS", True, id="no server"),
        pytest.param(requests.exceptions.InvalidURL("no host"), "", False, id="bad url"),
        pytest.param(socket.gaierror(-2, "Name or service not known"), "ADDRESS", True, id="no such host"),
        pytest.param(ConnectionResetError(errno.ECONNRESET, "reset"), "", True, id="reset"),
        pytest.param(TimeoutError("timed out"), "", True, id="timeout"),
        pytest.param(
            rpc("security.AccessControlException", "Permission denied: user=ann"), "PERMISSION", False, id="hdfs denied"
        ),
        pytest.param(
            rpc("hdfs.protocol.DSQuotaExceededException", "The DiskSpace quota"), "quota", False, id="hdfs quota"
        ),
        pytest.param(rpc("hdfs.server.namenode.SafeModeException", "Cannot create"), "", True, id="hdfs safe mode"),
        pytest.param(rpc("ipc.StandbyException", "Operation category"), "", True, id="hdfs standby"),
        pytest.param(rpc("io.IOException", "File /x could only be written to 0 of the 1"), "", True, id="hdfs no node"),
        pytest.param(
            OSError("When reading: AWS Error ACCESS_DENIED during HeadObject"), "PERMISSION", False, id="s3 denied"
        ),
        pytest.param(
            OSError("When writing: AWS Error NO_SUCH_BUCKET during PutObject"), "CONTAINER", False, id="s3 bucket"
        ),
        pytest.param(OSError("AWS Error SLOW_DOWN during PutObject"), "", True, id="s3 throttled"),
        pytest.param(OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject"), "", True, id="s3 server error"),
        pytest.param(
            OSError("AWS Error NETWORK_CONNECTION during PutObject: curlCode: 7"), "ADDRESS", True, id="s3 away"
        ),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device", "/local"), "the disk is full", False, id="disk full"
        ),
        pytest.param(OSError(errno.EROFS, "Read-only file system", "/local"), "read-only", False, id="read-only"),
        pytest.param(NotImplementedError(), "another kind", False, id="a store that cannot write"),
        pytest.param(ValueError("Invalid path name"), "", False, id="a name that it refuses"),
    ],
)
def test_an_error_is_sorted(error: Exception, way_out: str, retryable: bool) -> None:
    found = told("cannot write gs://b/x", error, WAYS)
    assert str(found).startswith("cannot write gs://b/x: ")
    assert way_out in str(found)
    others = {"CREDENTIALS", "PERMISSION", "CONTAINER", "ADDRESS"} - {way_out}
    assert [word for word in others if word in str(found)] == []
    assert found.retryable is retryable
    assert "\n" not in str(found)
    assert "S.java" not in str(found)


def test_what_is_missing_depends_on_what_was_tried() -> None:
    assert isinstance(told("cannot read x", FileNotFoundError("x"), WAYS), StorageNotFoundError)
    found = told("cannot write x", FileNotFoundError("x"), WAYS, writes=True)
    assert not isinstance(found, StorageNotFoundError)
    assert "CONTAINER" in str(found)


def test_a_long_answer_is_cut() -> None:
    assert len(str(told("cannot write x", OSError("<html>" * 1000), WAYS))) < 1000


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full: free space"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "fsGroup"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_volume_that_refuses_leaves_nothing_behind(
    tmp_path: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, path = resolve(str(tmp_path / "runs"))
    storage.write(f"{path}/file", b"old")
    (tmp_path / "source").write_bytes(b"new")

    def refuse(fd: int) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    for call in (
        lambda: storage.write(f"{path}/file", b"new"),
        lambda: storage.put_file(str(tmp_path / "source"), f"{path}/file"),
        lambda: storage.create_if_absent(f"{path}/other", b"new"),
        lambda: storage.check(path),
    ):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert caught.value.retryable is (number == errno.EIO)
    monkeypatch.undo()
    assert [(entry.name, entry.size) for entry in storage.files(path)] == [("file", 3)]
    assert [p.name for p in (tmp_path / "runs").rglob("*") if p.is_file()] == ["file"]


def test_a_directory_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, path = resolve(str(tmp_path))
    storage.write(f"{path}/d/file", b"1")

    def refuse(directory: str) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="cannot list"):
        list(storage.files(path))
    with pytest.raises(StorageError, match="cannot list"):
        storage.directories(path)
