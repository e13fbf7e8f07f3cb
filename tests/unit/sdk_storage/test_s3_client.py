"""The client of S3: what making it costs."""

from __future__ import annotations

import pytest
from botocore.loaders import JSONFileLoader

from paceline.storage import _s3_client
from paceline.storage._s3_options import S3Options


def test_the_models_of_s3_are_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    read: list[str] = []
    load_file = JSONFileLoader.load_file

    def counted(loader: JSONFileLoader, path: str) -> object:
        read.append(path)
        return load_file(loader, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", counted)
    _s3_client._loader.cache_clear()
    regions = ["eu-west-1", "eu-west-2"]
    clients = [_s3_client.Access(S3Options(region=region)).client for region in regions]
    assert [client.meta.region_name for client in clients] == regions
    assert read, "the first client reads them"
    assert len(read) == len(set(read))
