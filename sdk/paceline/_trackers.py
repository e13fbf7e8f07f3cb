"""Experiment trackers, as the agent and `paceline.tracking` know them: names, ways out, errors for want of a key.

Standard library only, and nothing is computed here that costs time: every report of a tracked run imports it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from paceline import _contract as c

WANDB: Final = "wandb"
MLFLOW: Final = "mlflow"
COMET: Final = "comet"
TENSORBOARD: Final = "tensorboard"
KINDS: Final = (WANDB, MLFLOW, COMET, TENSORBOARD)

NAMES: Final[Mapping[str, str]] = {
    WANDB: "Weights & Biases",
    MLFLOW: "MLflow",
    COMET: "Comet",
    TENSORBOARD: "TensorBoard",
}

# What `import` calls each, and what `pip install` does.
MODULES: Final[Mapping[str, str]] = {
    WANDB: "wandb",
    MLFLOW: "mlflow",
    COMET: "comet_ml",
    TENSORBOARD: "tensorboard",
}
PACKAGES: Final[Mapping[str, str]] = {**MODULES, COMET: "comet-ml"}

# Type of the SDK's own error, by which the agent knows it.
ERROR: Final = "MissingCredentialsError"

_WAYS_OUT: Final[Mapping[str, str]] = {
    WANDB: (
        "put a key from the settings page of your account into WANDB_API_KEY on every worker: `paceline secrets create"
        " wandb` prints the Secret, and spec.credentials (Kubernetes(credentials=[...])) brings it; or log offline with"
        " WANDB_MODE=offline"
    ),
    MLFLOW: (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, on every worker:"
        " `paceline secrets create mlflow` prints the Secret, and spec.credentials brings it"
    ),
    "databricks": (
        "set DATABRICKS_HOST and DATABRICKS_TOKEN on every worker, or mount the file that `databricks configure` wrote"
        " and name it in DATABRICKS_CONFIG_FILE: `paceline secrets create databricks` prints the Secret, and"
        " spec.credentials brings it; a file in the home directory of your laptop is not on the workers"
    ),
    COMET: (
        "put a key from the settings page of your account into COMET_API_KEY on every worker: `paceline secrets create"
        " comet` prints the Secret, and spec.credentials (Kubernetes(credentials=[...])) brings it; or log offline:"
        ' setup_comet(mode="offline")'
    ),
}

# (type of the exception as `type(e).__name__`, words of its message, the module that it comes from, what it is about).
# Other libraries have an AuthenticationError too.
_SIGNS: Final = (
    ("UsageError", r"no API key configured|api_key not configured|wandb login", "wandb", WANDB),
    ("AuthenticationError", r"api.key|credentials|IDENTITY_TOKEN", "wandb", WANDB),
    ("CommError", r"\b401\b|api.key|not logged in|unauthori[sz]ed", "wandb", WANDB),
    ("ValueError", r"^Comet\.ml requires an API key", "", COMET),
    ("ValueError", r"^default auth: cannot configure default credentials", "", "databricks"),
    ("InvalidRestAPIKey|CometRestApiException", r"api.key", "comet", COMET),
    ("MlflowException", r"^Reading Databricks credential configuration failed", "", "databricks"),
    ("InvalidConfigurationError", r"haven't configured the CLI", "", "databricks"),
    ("MlflowException", r"failed with error code (401|403)\b", "mlflow", MLFLOW),
    ("RestException", r"^(UNAUTHENTICATED|PERMISSION_DENIED)\b", "mlflow", MLFLOW),
)


def variables(tracking: Mapping[str, Any]) -> dict[str, str]:
    """The libraries' own variables for what `PACELINE_TRACKING` says; on a cluster the operator sets the same.

    Args:
        tracking: Its JSON.
    """
    told = {
        "WANDB_PROJECT": tracking.get(WANDB, {}).get("project"),
        "WANDB_ENTITY": tracking.get(WANDB, {}).get("entity"),
        "WANDB_MODE": tracking.get(WANDB, {}).get("mode"),
        "MLFLOW_TRACKING_URI": tracking.get(MLFLOW, {}).get("trackingUri"),
        "MLFLOW_EXPERIMENT_NAME": tracking.get(MLFLOW, {}).get("experiment"),
        "COMET_PROJECT_NAME": tracking.get(COMET, {}).get("project"),
        "COMET_WORKSPACE": tracking.get(COMET, {}).get("workspace"),
    }
    return {name: str(value) for name, value in told.items() if value}


def is_preflight_off(environ: Mapping[str, str]) -> bool:
    """Whether PACELINE_TRACKING_PREFLIGHT says that nothing is asked of the trackers beforehand."""
    return environ.get(c.TRACKING_PREFLIGHT, "").lower() in ("off", "false", "0")


def lacking(kind: str, message: str, origin: str) -> str | None:
    """What an exception lacks credentials for: `wandb`, `mlflow`, `databricks` or `comet`; None: it tells of no such.

    Args:
        kind: `type(error).__name__`.
        message: Its text.
        origin: Its module, or its traceback, which names that.
    """
    for types, words, module, about in _SIGNS:
        if re.fullmatch(types, kind) and re.search(words, message, re.IGNORECASE) and module in origin:
            return about
    return None


def way_out(about: str) -> str:
    """What to do for want of credentials. Empty for what needs none.

    Args:
        about: As `lacking` gives it.
    """
    return _WAYS_OUT.get(about, "")


def sentence(about: str, words: str) -> str:
    """The tracker's own words, then the way out."""
    said = words.strip().rstrip(".")
    out = way_out(about)
    return f"{said}: {out}" if out else said


def has_secret(uri: str) -> bool:
    """Whether a URL names a password."""
    try:
        return urlsplit(uri).password is not None
    except ValueError:
        return False


def without_secrets(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment; a route after `#/` stays.

    Args:
        url: Any text; one that is no URL comes back as it is, up to a `?`.
    """
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    # The pages of MLflow are routes behind a `#`.
    fragment = parts.fragment.partition("?")[0] if parts.fragment.startswith("/") else ""
    if not parts.scheme or not parts.netloc:
        return url.partition("?")[0]
    return urlunsplit((parts.scheme, netloc, parts.path, "", fragment))
