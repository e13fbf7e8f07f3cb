"""`paceline secrets create wandb`: how to make a tracker's Secret, and what to write into the manifest.

Nothing is asked for and nothing is sent: a key that no program of ours sees is in none of its logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer


class Action(str, Enum):
    """What can be done about Secrets."""

    CREATE = "create"


class Service(str, Enum):
    """Whose credentials."""

    WANDB = "wandb"
    MLFLOW = "mlflow"
    DATABRICKS = "databricks"
    COMET = "comet"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The Secret of a service."""

    keys: tuple[str, ...] = ()
    """Keys of the Secret, which are also the variables that the library reads."""
    file: str = ""
    """File on this machine that becomes the only key, instead of `keys`."""
    directory: str = ""
    """Where that is mounted."""
    variable: str = ""
    """Variable that names it there."""
    before: str = ""
    """Where the key comes from."""


RECIPES = {
    Service.WANDB: Recipe(("WANDB_API_KEY",), before="The key is on the settings page of your account (API keys)."),
    Service.MLFLOW: Recipe(
        ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        before="User and password of your MLflow server. One with tokens takes MLFLOW_TRACKING_TOKEN alone instead.",
    ),
    Service.DATABRICKS: Recipe(
        file=".databrickscfg",
        directory="/etc/databricks",
        variable="DATABRICKS_CONFIG_FILE",
        before="`databricks configure` writes ~/.databrickscfg.",
    ),
    Service.COMET: Recipe(("COMET_API_KEY",), before="The key is on the settings page of your account (API keys)."),
}


def secrets_command(
    action: Annotated[Action, typer.Argument(help="create: how to make one.", show_default=False)],
    service: Annotated[Service, typer.Argument(help="Whose credentials.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the Secret; default: the service's.", show_default=False)
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace of your jobs; default: kubectl's.")
    ] = None,
) -> None:
    """Print how to make a tracker's Secret and hand it to a job. Asks for no key, and needs no cluster."""
    del action  # There is one.
    print(instructions(service, name or service.value, namespace))


def instructions(service: Service, secret: str, namespace: str | None) -> str:
    """Return the command for the shell and the lines for the manifest.

    Args:
        service: Whose credentials.
        secret: Name of the Secret.
        namespace: Namespace of the jobs; None: kubectl's own.
    """
    recipe = RECIPES[service]
    where = f" -n {namespace}" if namespace else ""
    create = f"kubectl{where} create secret generic {secret}"
    credential = [f"  - secretRef: {{name: {secret}}}"]
    if recipe.file:
        how, command = "Run in your shell:", f'{create} --from-file={recipe.file}="$HOME/{recipe.file}"'
        credential += [f"    mountPath: {recipe.directory}"]
        credential += [f"    env: {{{recipe.variable}: {recipe.directory}/{recipe.file}}}"]
    else:
        how = "Run in bash or zsh; what you type is not shown, and is in no history and no list of processes:"
        # One line: of several that are pasted at once, `read` would take the next one for the key.
        asked = " && ".join(f'printf "{key}: " && read -rs {key} && echo' for key in recipe.keys)
        files = " ".join(f'--from-file={key}=<(printf %s "${key}")' for key in recipe.keys)
        command = f"{asked} && {create} {files}; unset {' '.join(recipe.keys)}"
    return "\n".join(
        [recipe.before, how, "", f"  {command}", "", "In the manifest, below spec:", "", "credentials:", *credential]
    )
