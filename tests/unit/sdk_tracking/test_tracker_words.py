"""What trackers raise for want of a key, and what of a URL may be shown."""

from __future__ import annotations

import pytest

from paceline import _contract as c
from paceline import _trackers
from paceline.agent import failure


@pytest.mark.parametrize(
    ("kind", "message", "origin", "about"),
    [
        ("UsageError", "No API key configured. Use `wandb login` to log in.", "wandb.errors.errors", "wandb"),
        (
            "UsageError",
            "api_key not configured (no-tty). call wandb.login(key=[k])",
            "wandb.errors",
            "wandb",
        ),
        ("AuthenticationError", "API key must have 40+ characters, has 5.", "wandb.errors.errors", "wandb"),
        ("ValueError", "Comet.ml requires an API key. Please provide", "builtins", "comet"),
        ("MlflowException", "Reading Databricks credential configuration failed with", "mlflow", "databricks"),
        ("InvalidConfigurationError", "You haven't configured the CLI yet!", "databricks_cli.utils", "databricks"),
        ("MlflowException", "API request to endpoint /x failed with error code 401 != 200.", "mlflow", "mlflow"),
        # Other libraries, and other mistakes.
        ("AuthenticationError", "Incorrect API key provided", "openai", None),
        ("UsageError", "Missing option '--api-key'.", "click.exceptions", None),
        ("UsageError", "Error uploading run: 500", "wandb.errors.errors", None),
        ("MlflowException", "API request to endpoint /x failed with error code 500 != 200.", "mlflow", None),
        ("ValueError", "an API key of Comet.ml", "builtins", None),
    ],
)
def test_an_error_lacks_credentials(kind: str, message: str, origin: str, about: str | None) -> None:
    assert _trackers.lacking(kind, message, origin) == about


def test_a_failure_for_want_of_a_key_has_the_trackers_words_and_the_way_out() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "train.py", line 3, in <module>',
        "wandb.errors.errors.UsageError: No API key configured. Use `wandb login` to log in.",
    ]
    found = failure.from_exit(0, 1, time="", exception=None, last_lines=lines)
    assert (found.reason, found.type) == (c.REASON_CREDENTIALS, "UsageError")
    assert found.message.startswith("No API key configured. Use `wandb login` to log in: put a key")
    assert "WANDB_API_KEY" in found.message


def test_the_sdks_own_error_is_told_as_it_is() -> None:
    told = {"type": "MissingCredentialsError", "message": "the words", "traceback": "..."}
    found = failure.from_exit(2, 1, time="", exception=told, last_lines=())
    assert (found.reason, found.message, found.rank) == (c.REASON_CREDENTIALS, "the words", 2)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://user:secret@host:5000/a?key=secret#x", "https://host:5000/a"),
        ("http://mlflow:5000/#/experiments/1/runs/2?token=secret", "http://mlflow:5000/#/experiments/1/runs/2"),
        ("https://wandb.ai/team/digits/runs/3f2c", "https://wandb.ai/team/digits/runs/3f2c"),
        ("sqlite:////mnt/runs/mlflow.db", "sqlite:////mnt/runs/mlflow.db"),
        ("postgresql://user:secret@db/mlflow", "postgresql://db/mlflow"),
        ("http://[broken", ""),
    ],
)
def test_a_url_is_shown_without_secrets(given: str, shown: str) -> None:
    assert _trackers.without_secrets(given) == shown


def test_the_variables_are_those_of_the_operator() -> None:
    tracking = {
        "wandb": {"project": "digits", "entity": "team", "mode": "offline"},
        "mlflow": {"trackingUri": "http://mlflow:5000", "experiment": "e"},
        "comet": {"project": "p", "workspace": "w", "mode": "offline"},
        "preflight": True,
    }
    assert _trackers.variables(tracking) == {
        "WANDB_PROJECT": "digits",
        "WANDB_ENTITY": "team",
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_NAME": "e",
        "COMET_PROJECT_NAME": "p",
        "COMET_WORKSPACE": "w",
    }
    assert _trackers.variables({"wandb": {}}) == {}
