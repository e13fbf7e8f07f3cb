"""What the helpers raise."""

from __future__ import annotations

from paceline import _trackers


class MissingCredentialsError(RuntimeError):
    """A tracker has no key, or refuses the one it has. The text has its own words and the way out, never a secret.

    Another attempt would end in the same way, so the run fails for good, with the reason `MissingCredentials`.

    Attributes:
        kind: `wandb`, `mlflow` or `comet`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[MissingCredentialsError], tuple[str, str]]:
        return type(self), (self.kind, str(self))


def explained(kind: str, error: Exception) -> MissingCredentialsError | None:
    """The error of a library as ours, where it is one for want of credentials; None: it is another."""
    about = _trackers.lacking(type(error).__name__, str(error), type(error).__module__)
    if about is None:
        return None
    return MissingCredentialsError(kind, _trackers.sentence(about, str(error)))
