from __future__ import annotations

from pathlib import Path

import pytest

from paceline_operator import settings

WHOLE = """
namespaces: [ml]
agentImage: registry/paceline:1
defaultStorage: {path: "s3://b/runs", secretRef: {name: s3}}
accelerators: {A100: {gpu: a100}}
podSecurity: none
runAsUser: 2000
leaderElection: {enabled: true, leaseName: l, leaseDurationSeconds: 10}
httpPort: 9000
progressPollSeconds: 5
logLevel: debug
logFormat: json
"""


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(WHOLE)
    found = settings.load(path, httpPort=9100, logLevel=None)
    assert (found.namespaces, found.http_port, found.log_level) == (("ml",), 9100, "debug")
    defaults = found.job_defaults()
    assert (defaults.storage_path, defaults.storage_secret, defaults.run_as_user) == ("s3://b/runs", "s3", 2000)
    assert settings.load(None).job_defaults().storage_secret is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("agentimage: x", r"agentimage is no setting \(known: namespaces, agentImage", id="misspelt"),
        pytest.param("leaderElection: {name: x}", "leaderElection.name is no setting", id="misspelt inside"),
        pytest.param("podSecurity: some", "podSecurity is 'some'.*'restricted' or 'none'", id="wrong word"),
        pytest.param("httpPort: 0", "httpPort is 0", id="out of range"),
        pytest.param(
            "defaultStorage: {path: ftp://h/d}",
            "defaultStorage.path 'ftp://h/d' is in no known store: begin with s3, gs, gcs, hdfs, webhdfs, or with /",
            id="no store",
        ),
        pytest.param("- a", "holds a list: write a map", id="no map"),
        pytest.param("a: [", "is not valid YAML", id="no YAML"),
    ],
)
def test_mistakes_are_told_by_field_and_value(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(settings.SettingsError, match=says):
        settings.load(path)


@pytest.mark.parametrize(
    "path",
    [
        "s3://AKIA:canary-secret@bucket/runs",
        "s3://bucket/runs?region=eu-1&aws_secret_access_key=canary-secret",
        "gs://bucket/runs?endpoint_override=http://me:canary-secret@gcs",
        "gs://bucket/runs?Auth=canary-secret",
    ],
)
def test_a_secret_in_the_default_path_is_refused_and_not_repeated(tmp_path: Path, path: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f'defaultStorage: {{path: "{path}"}}')
    with pytest.raises(settings.SettingsError, match=r"defaultStorage\.path carries credentials.*secretRef") as refused:
        settings.load(file)
    assert "canary-secret" not in str(refused.value)


@pytest.mark.parametrize("path", ["/mnt/runs", "s3://bucket/a@b/key=1", "gs://b?project=p", "hdfs://h:1/d?user=ml"])
def test_a_default_path_in_each_kind_of_store_is_taken(tmp_path: Path, path: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f'defaultStorage: {{path: "{path}"}}')
    assert settings.load(file).job_defaults().storage_path == path


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match="name an existing file by --config"):
        settings.load(tmp_path / "none.yaml")
