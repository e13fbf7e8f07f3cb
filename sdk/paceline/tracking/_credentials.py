"""Where each tracker's library looks for its key, and one request that proves it. Standard library, no network.

`access` answers for the environment of a worker: the request to make, or what is missing, or nothing to look at.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import json
import netrc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from paceline import _trackers

_WANDB_URL = "https://api.wandb.ai"
_COMET_URL = "https://www.comet.com"
_SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@dataclass(frozen=True, slots=True)
class Access:
    """How a tracker is reached.

    Attributes:
        kind: Of the tracker.
        url: Of the request.
        headers, data: Of the request; `data` makes it a POST.
        secrets: What no message may show.
        missing: The tracker's words for what is missing; empty: it is there, or none is needed.
        about: As `_trackers.lacking` names what it is about.
        verify: Whether the server's certificate is checked.
    """

    kind: str
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: bytes | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    missing: str = ""
    about: str = ""
    verify: bool = True


def access(kind: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> Access | None:
    """How this tracker is reached; None: it needs nothing, since it is offline or a file.

    Args:
        options: Its part of `PACELINE_TRACKING`.
        environ: Of the worker. Its variables go before `options`.
    """
    return _FINDERS[kind](options, environ)


def _wandb(options: Mapping[str, Any], environ: Mapping[str, str]) -> Access | None:
    settings = _wandb_settings(environ)
    mode = environ.get("WANDB_MODE") or options.get("mode") or settings.get("mode") or "online"
    if mode not in ("online", "shared") or environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        return None
    base = (environ.get("WANDB_BASE_URL") or settings.get("base_url") or _WANDB_URL).rstrip("/")
    url = f"{base}/graphql"
    if environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return Access(_trackers.WANDB, base, about=_trackers.WANDB)
    key = environ.get("WANDB_API_KEY") or settings.get("api_key") or _netrc(base, environ)
    if not key:
        said = "No API key configured. Use `wandb login` to log in"
        return Access(_trackers.WANDB, url, missing=said, about=_trackers.WANDB)
    return Access(
        _trackers.WANDB,
        url,
        {"Authorization": _basic("api", key), "Content-Type": "application/json"},
        json.dumps({"query": "query Viewer { viewer { id } }"}).encode(),
        (key,),
        about=_trackers.WANDB,
    )


def _mlflow(options: Mapping[str, Any], environ: Mapping[str, str]) -> Access | None:
    # An argument of the code comes here as an option of its own and goes before the variable.
    uri = str(options.get("uri") or environ.get("MLFLOW_TRACKING_URI") or options.get("trackingUri") or "")
    if uri == "databricks" or uri.startswith("databricks://"):
        return _databricks(uri.partition("://")[2], environ)
    if not uri.startswith(("http://", "https://")):
        return None
    parts = urlsplit(uri)
    user, password = _mlflow_login(environ)
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    headers: dict[str, str] = {}
    secrets = [secret for secret in (password, token, parts.password) if secret]
    if user and password:
        headers["Authorization"] = _basic(user, password)
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    elif found := _netrc_login(uri, environ):
        headers["Authorization"] = _basic(*found)
        secrets.append(found[1])
    insecure = environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    address = _trackers.without_secrets(uri).rstrip("/")
    return Access(
        _trackers.MLFLOW, address + _SEARCH, headers, None, tuple(secrets), about=_trackers.MLFLOW, verify=not insecure
    )


def _databricks(profile: str, environ: Mapping[str, str]) -> Access:
    profile = profile.partition(":")[0] or environ.get("DATABRICKS_CONFIG_PROFILE", "")
    host, token = environ.get("DATABRICKS_HOST", ""), environ.get("DATABRICKS_TOKEN", "")
    others = ("DATABRICKS_CLIENT_ID", "DATABRICKS_USERNAME", "ARM_CLIENT_ID", "DATABRICKS_AUTH_TYPE")
    if not (host and token and not profile):
        given = environ.get("DATABRICKS_CONFIG_FILE")
        section = _ini(Path(given) if given else _home(environ) / ".databrickscfg").get(profile or "DEFAULT", {})
        host, token = section.get("host", host), section.get("token", token)
        if host and not token and (section or any(map(environ.get, others))):
            token = ""  # another kind of login, which the library knows
        elif not (host and token):
            where = environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg"
            said = (
                "Reading Databricks credential configuration failed: there is neither DATABRICKS_HOST with"
                f" DATABRICKS_TOKEN nor a profile {profile or 'DEFAULT'!r} in {where}"
            )
            return Access(_trackers.MLFLOW, missing=said, about="databricks")
    base = (host if "://" in host else f"https://{host}").rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = base + _SEARCH if token else base
    return Access(_trackers.MLFLOW, url, headers, None, (token,) if token else (), about="databricks")


def _comet(options: Mapping[str, Any], environ: Mapping[str, str]) -> Access | None:
    if options.get("mode") == "offline":
        return None
    settings = _comet_settings(environ)
    key = str(options.get("apiKey") or environ.get("COMET_API_KEY") or settings.get("api_key") or "")
    base = environ.get("COMET_URL_OVERRIDE") or settings.get("url_override") or _inside(key) or _COMET_URL
    parts = urlsplit(base)
    url = f"{parts.scheme}://{parts.netloc}/api/rest/v2/workspaces"
    if not key:
        said = "Comet.ml requires an API key"
        return Access(_trackers.COMET, url, missing=said, about=_trackers.COMET)
    return Access(_trackers.COMET, url, {"Authorization": key}, None, (key,), about=_trackers.COMET)


_FINDERS = {_trackers.WANDB: _wandb, _trackers.MLFLOW: _mlflow, _trackers.COMET: _comet}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "~").expanduser()


def _netrc(base: str, environ: Mapping[str, str]) -> str:
    found = _netrc_login(base, environ)
    return found[1] if found else ""


def _netrc_login(url: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of a server; wandb asks by host and port, requests by the host alone."""
    parts = urlsplit(url)
    given = environ.get("NETRC")
    home = _home(environ)
    for path in [Path(given).expanduser()] if given else [home / ".netrc", home / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            entries = netrc.netrc(path).hosts
            for host in (parts.netloc.rpartition("@")[2], parts.hostname or ""):
                if host in entries and entries[host][2]:
                    login, _, password = entries[host]
                    return login, password
    return None


def _ini(path: Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="paceline-none", strict=False)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read_string(path.read_text(encoding="utf-8"))
    return {name: dict(parser[name]) for name in parser.sections()}


def _wandb_settings(environ: Mapping[str, str]) -> dict[str, str]:
    config = environ.get("WANDB_CONFIG_DIR") or str(_home(environ) / ".config" / "wandb")
    files = (Path(config).expanduser() / "settings", Path("wandb") / "settings")
    return {name: value for file in files for name, value in _ini(file).get("default", {}).items()}


def _mlflow_login(environ: Mapping[str, str]) -> tuple[str, str]:
    file = _ini(_home(environ) / ".mlflow" / "credentials").get("mlflow", {})
    return (
        environ.get("MLFLOW_TRACKING_USERNAME") or file.get("mlflow_tracking_username", ""),
        environ.get("MLFLOW_TRACKING_PASSWORD") or file.get("mlflow_tracking_password", ""),
    )


def _comet_settings(environ: Mapping[str, str]) -> Mapping[str, str]:
    given = environ.get("COMET_CONFIG")
    found: dict[str, str] = {}
    for file in (_home(environ) / ".comet.config", Path(".comet.config"), *([Path(given)] if given else [])):
        found.update(_ini(file / ".comet.config" if file.is_dir() else file).get("comet", {}))
    return found


def _inside(key: str) -> str:
    """A key of a Comet server of one's own has its address behind a star."""
    _, star, told = key.partition("*")
    if not star:
        return ""
    try:
        return str(json.loads(base64.b64decode(told + "=" * (-len(told) % 4))).get("baseUrl") or "")
    except (ValueError, AttributeError):
        return ""
