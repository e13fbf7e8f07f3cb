"""Where each library looks for its key."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from paceline.tracking import _credentials
from paceline.tracking._credentials import Access


def access(home: Path, kind: str, options: dict[str, Any] | None = None, **environ: str) -> Access | None:
    return _credentials.access(kind, options or {}, {"HOME": str(home), **environ})


def sure(found: Access | None) -> Access:
    assert found is not None
    assert not found.missing
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "options", "environ"),
    [
        ("wandb", {"mode": "offline"}, {}),
        ("wandb", {"mode": "online"}, {"WANDB_MODE": "offline"}),
        ("wandb", {}, {"WANDB_MODE": "disabled"}),
        ("mlflow", {}, {}),
        ("mlflow", {"trackingUri": "sqlite:////mnt/mlflow.db"}, {}),
        ("mlflow", {"trackingUri": "http://mlflow:5000"}, {"MLFLOW_TRACKING_URI": "file:///mnt/mlruns"}),
        ("comet", {"mode": "offline"}, {}),
    ],
)
def test_what_is_offline_needs_no_key(home: Path, kind: str, options: dict[str, Any], environ: dict[str, str]) -> None:
    assert access(home, kind, options, **environ) is None


@pytest.mark.parametrize(
    ("kind", "options", "environ", "said", "about"),
    [
        ("wandb", {}, {}, "No API key configured", "wandb"),
        ("wandb", {"mode": "offline"}, {"WANDB_MODE": "online"}, "No API key configured", "wandb"),
        ("comet", {}, {}, "requires an API key", "comet"),
        ("mlflow", {"trackingUri": "databricks"}, {}, "Databricks", "databricks"),
        ("mlflow", {"trackingUri": "databricks"}, {"DATABRICKS_HOST": "h"}, "DATABRICKS_TOKEN", "databricks"),
        ("mlflow", {"trackingUri": "databricks://team"}, {}, "a profile 'team' in ~/.databrickscfg", "databricks"),
    ],
)
def test_a_missing_key_is_seen_without_a_server(
    home: Path, kind: str, options: dict[str, Any], environ: dict[str, str], said: str, about: str
) -> None:
    found = access(home, kind, options, **environ)
    assert found is not None
    assert said in found.missing
    assert found.about == about


def test_wandbs_key_is_in_a_variable_a_netrc_or_settings(home: Path) -> None:
    variable = sure(access(home, "wandb", WANDB_API_KEY="k1"))
    assert variable.url == "https://api.wandb.ai/graphql"
    assert variable.headers["Authorization"] == "Basic " + base64.b64encode(b"api:k1").decode()
    assert "k1" not in repr(variable)
    (home / ".netrc").write_text("machine wandb.mine:8080\n login user\n password k2\n")
    own = sure(access(home, "wandb", WANDB_BASE_URL="http://wandb.mine:8080"))
    assert own.url == "http://wandb.mine:8080/graphql"
    assert own.secrets == ("k2",)
    elsewhere = access(home, "wandb")
    assert elsewhere is not None
    assert elsewhere.missing  # the file has no key for the public server
    (home / "else").write_text("machine api.wandb.ai login user password k3")
    assert sure(access(home, "wandb", NETRC=str(home / "else"))).secrets == ("k3",)
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    assert access(home, "wandb") is None


def test_mlflow_logs_in_by_variables_a_file_or_the_url(home: Path) -> None:
    uri = {"trackingUri": "http://mlflow:5000/"}
    assert sure(access(home, "mlflow", uri)).headers == {}
    assert sure(access(home, "mlflow", uri)).url == "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1"
    token = sure(access(home, "mlflow", uri, MLFLOW_TRACKING_TOKEN="t"))
    assert token.headers == {"Authorization": "Bearer t"}
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = p%s\n"
    )
    basic = {"Authorization": "Basic " + base64.b64encode(b"u:p%s").decode()}
    assert sure(access(home, "mlflow", uri)).headers == basic
    inside = sure(access(home, "mlflow", {"trackingUri": "https://me:a%40b@host"}))
    assert inside.headers == {"Authorization": "Basic " + base64.b64encode(b"me:a@b").decode()}
    assert inside.url.startswith("https://host/api")
    assert "a@b" in inside.secrets


def test_databricks_is_configured_by_variables_or_a_file(home: Path) -> None:
    uri = {"trackingUri": "databricks"}
    given = sure(access(home, "mlflow", uri, DATABRICKS_HOST="https://dbc.example", DATABRICKS_TOKEN="t"))
    assert given.url.startswith("https://dbc.example/api/2.0/mlflow")
    assert given.headers == {"Authorization": "Bearer t"}
    (home / "cfg").write_text("[DEFAULT]\nhost = https://a.example\ntoken = t1\n[team]\nhost = b.example\ntoken = t2\n")
    file = {"DATABRICKS_CONFIG_FILE": str(home / "cfg")}
    assert sure(access(home, "mlflow", uri, **file)).url.startswith("https://a.example/")
    assert sure(access(home, "mlflow", {"trackingUri": "databricks://team"}, **file)).secrets == ("t2",)
    assert sure(access(home, "mlflow", uri, DATABRICKS_CONFIG_PROFILE="team", **file)).url.startswith(
        "https://b.example/"
    )


def test_comets_key_may_name_its_server(home: Path) -> None:
    assert sure(access(home, "comet", COMET_API_KEY="k")).url == "https://www.comet.com/api/rest/v2/workspaces"
    told = base64.b64encode(json.dumps({"baseUrl": "https://comet.mine"}).encode()).decode().rstrip("=")
    assert sure(access(home, "comet", COMET_API_KEY=f"k*{told}")).url.startswith("https://comet.mine/api")
    url = "http://host:80/clientlib/"
    assert sure(access(home, "comet", COMET_API_KEY="k", COMET_URL_OVERRIDE=url)).url.startswith("http://host:80/api")
    (home / ".comet.config").write_text("[comet]\napi_key = filed\n")
    assert sure(access(home, "comet")).secrets == ("filed",)
