"""What S3 transfers do on a real server that enforces signatures and checksums."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.cluster.s3 import S3Server
from paceline.storage import Storage, StorageError, StorageNotFoundError, _s3_objects, checksum, resolve, transfer
from paceline.storage._s3_objects import Objects
from paceline.storage._s3_sign import EMPTY_SHA256
from paceline.storage._transfer_s3 import PART_BYTES

BUCKET = "exact"
NAMES = ["a b", "plus+equals=", "percent%41", "ümläut/日本", "~tilde!*'()", "q?x&y#z", "semi;colon,@$", "dot/.hidden"]


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.make_bucket(BUCKET)
    return s3_server


@pytest.fixture
def store(server: S3Server, request: pytest.FixtureRequest) -> tuple[Storage, str]:
    return resolve(f"s3://{BUCKET}/{abs(hash(request.node.name))}")


def test_names_of_every_kind_go_up_and_come_back(store: tuple[Storage, str], tmp_path: Path) -> None:
    storage, path = store
    for name in NAMES:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    stored = transfer.upload_directory(storage, tmp_path / "source", f"{path}/c d")
    assert {entry.name for entry in storage.files(f"{path}/c d")} == set(NAMES)
    transfer.download_directory(storage, f"{path}/c d", tmp_path / "back", expected=stored)
    assert {name: (tmp_path / "back" / name).read_text() for name in NAMES} == {name: name for name in NAMES}


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(1, id="one byte"),
        pytest.param(PART_BYTES, id="just one part"),
        pytest.param(PART_BYTES + 1, id="a byte more"),
        pytest.param(2 * PART_BYTES, id="two whole parts"),
    ],
)
def test_sizes_at_the_edges(store: tuple[Storage, str], server: S3Server, tmp_path: Path, size: int) -> None:
    storage, path = store
    (tmp_path / "file").write_bytes(os.urandom(size))
    about = transfer.put_file(storage, tmp_path / "file", f"{path}/file")
    assert about == {"size": size, **checksum.of_file(tmp_path / "file")}
    transfer.get_file(storage, f"{path}/file", tmp_path / "back", expected=about)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    # The store itself has the same sum of the whole object.
    told: Any = server.client().head_object(
        Bucket=BUCKET, Key=f"{path}/file".removeprefix(f"{BUCKET}/"), ChecksumMode="ENABLED"
    )
    assert base64.b64decode(told["ChecksumCRC32C"]).hex() == about["crc32c"]


def test_the_store_refuses_a_body_that_is_not_what_was_summed(
    store: tuple[Storage, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, path = store
    (tmp_path / "file").write_bytes(b"right")
    monkeypatch.setattr("paceline.storage._s3_objects._encoded", lambda value: "AAAAAA==")
    with pytest.raises(StorageError, match=r"BadDigest|checksum"):
        transfer.put_file(storage, tmp_path / "file", f"{path}/file", patience_s=0)
    assert storage.size(f"{path}/file") is None


def test_a_store_that_ignores_sums_gets_signed_bodies(
    store: tuple[Storage, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, path = store
    signed: list[str] = []
    real = Objects._confirmed

    def ignoring(self: Objects, answer: Any, body: Any, summed: bool) -> bool:
        answer.headers._values.pop(self._sum_header, None)
        return real(self, answer, body, summed)

    monkeypatch.setattr(Objects, "_confirmed", ignoring)
    real_payload = _s3_objects._payload

    def noting(body: Any, summed: bool) -> str:
        signed.append(real_payload(body, summed))
        return signed[-1]

    monkeypatch.setattr(_s3_objects, "_payload", noting)
    (tmp_path / "file").write_bytes(b"abc")
    for i in range(2):
        transfer.put_file(storage, tmp_path / "file", f"{path}/{i}")
    puts = [payload for payload in signed if payload != EMPTY_SHA256]
    assert puts == ["UNSIGNED-PAYLOAD", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]


def test_errors_are_told_in_the_stores_words(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1")
    storage, path = resolve("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match=r"NoSuchBucket.*allow_bucket_creation=true"):
        transfer.put_file(storage, tmp_path / "file", f"{path}/file")
    storage, path = resolve(f"s3://{BUCKET}/none")
    with pytest.raises(StorageNotFoundError, match="nothing lies at"):
        transfer.get_file(storage, path, tmp_path / "back")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    storage, path = resolve(f"s3://{BUCKET}/x")
    with pytest.raises(StorageError, match=r"SignatureDoesNotMatch.*check AWS_ACCESS_KEY_ID") as caught:
        transfer.put_file(storage, tmp_path / "file", path)
    assert "wrong-secret" not in str(caught.value)
    storage, path = resolve("s3://x--use1-az4--x-s3/x")
    with pytest.raises(StorageError, match="use a general purpose bucket"):
        transfer.put_file(storage, tmp_path / "file", path)


class SecureServer(S3Server):
    """The same with a certificate of an unknown authority."""

    pem: Path

    def command(self) -> tuple[Sequence[str], dict[str, str]]:
        command, keys = super().command()
        at = list(command).index("posix")
        return [*command[:at], "--cert", str(self.pem), "--key", str(self.pem), *command[at:]], keys

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.endpoint.rpartition(":")[2]))) == 0


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecureServer]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    SecureServer.pem = tmp_path / "pair.pem"
    SecureServer.pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    server = SecureServer.start_local(tmp_path / "tls")
    server.endpoint = server.endpoint.replace("http://", "https://")
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
    yield server  # type: ignore[misc]
    server.remove()


def test_https_with_a_private_authority(secure: SecureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    storage, path = resolve(f"s3://{BUCKET}/x?allow_bucket_creation=true")
    storage.check(path)
    (tmp_path / "big").write_bytes(os.urandom(2 * PART_BYTES + 1))
    about = transfer.put_file(storage, tmp_path / "big", f"{path}/big")
    transfer.get_file(storage, f"{path}/big", tmp_path / "back", expected=about)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    # Without it the certificate is refused at once, with the way out.
    monkeypatch.delenv("AWS_CA_BUNDLE")
    storage, path = resolve(f"s3://{BUCKET}/x")
    with pytest.raises(StorageError, match="set AWS_CA_BUNDLE") as caught:
        transfer.put_file(storage, tmp_path / "big", f"{path}/big")
    assert not caught.value.retryable
    with pytest.raises(StorageError, match="set AWS_CA_BUNDLE") as caught:
        storage.check(path)
    assert not caught.value.retryable
