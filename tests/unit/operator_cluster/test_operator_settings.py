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
        pytest.param("- a", "holds a list: write a map", id="no map"),
        pytest.param("a: [", "is not valid YAML", id="no YAML"),
    ],
)
def test_mistakes_are_told_by_field_and_value(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(settings.SettingsError, match=says):
        settings.load(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match="name an existing file by --config"):
        settings.load(tmp_path / "none.yaml")
