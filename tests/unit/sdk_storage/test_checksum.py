from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from paceline.storage import checksum


@pytest.mark.parametrize(("name", "value"), [("crc32c", "e3069283"), ("crc32", "cbf43926")])
def test_the_standard_check_values(name: str, value: str) -> None:
    kind = checksum.known(name)
    assert kind is not None
    assert checksum.text(kind.extend(b"123456789", 0)) == value
    assert checksum.text(kind.extend(b"6789", kind.extend(b"12345", 0))) == value


@pytest.mark.parametrize("name", ["crc32c", "crc32"])
@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param([], id="one part"),
        pytest.param([1], id="one byte first"),
        pytest.param([0, 7, 7, 1000, 4096], id="empty parts among others"),
        pytest.param([65536, 131072], id="equal parts and a rest"),
    ],
)
def test_the_sum_of_the_whole_is_joined_from_parts(name: str, cuts: list[int]) -> None:
    kind = checksum.known(name)
    assert kind is not None
    data = os.urandom(200_001)
    edges = [0, *cuts, len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert kind.join((kind.extend(part, 0), len(part)) for part in parts) == kind.extend(data, 0)
    assert kind.join([]) == 0


def test_a_file_is_compared_with_the_sums_that_this_machine_knows(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"123456789")
    assert checksum.of_file(file) == {"crc32c": "e3069283"}
    assert checksum.matches(file, {"crc32c": "e3069283"}) is True
    assert checksum.matches(file, {"crc32": "00000000"}) is False
    assert checksum.matches(file, {"sha512": "x"}) is None


def test_without_a_compiled_crc32c_the_standard_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum, "_crc32c", lambda: None)
    assert checksum.best().name == "crc32"
    assert checksum.known("crc32c") is None
