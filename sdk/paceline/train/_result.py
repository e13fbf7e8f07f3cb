"""`Result`: what a run left, read from its directory in any store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from paceline._metrics import numbers_again
from paceline.train._checkpoint import Checkpoint
from paceline.train._failure import TrainingFailedError
from paceline.train._location import Location

if TYPE_CHECKING:
    import pandas as pd


class Result:
    """What a run left, as `Result.from_path` reads it.

    Attributes:
        metrics: The last report of rank 0, with `step`, `time`, `attempt` and `iteration`; None without any report.
            NaN and infinity, which the files hold as texts, are floats again.
        checkpoint: The latest committed checkpoint, or None.
        best_checkpoints: Every committed checkpoint that is kept, with its metrics, oldest first. What is not committed
            is never among them.
        error: Why the last attempt ended, or None when it did not fail.
        config: What the run was started with (`params.json`), or None when that is not known.
        tracking: The runs at experiment trackers: `kind`, `runId`, and `url` or, where it has no page, `path`.
    """

    def __init__(
        self,
        location: Location,
        *,
        metrics: dict[str, Any] | None,
        best_checkpoints: Sequence[tuple[Checkpoint, dict[str, Any]]],
        error: TrainingFailedError | None,
        config: dict[str, Any] | None,
        tracking: Sequence[dict[str, str]] = (),
        lines: bytes = b"",
    ) -> None:
        """Use `Result.from_path`."""
        self._location = location
        self._lines = lines
        self.metrics = metrics
        self.best_checkpoints = list(best_checkpoints)
        self.checkpoint = self.best_checkpoints[-1][0] if self.best_checkpoints else None
        self.error = error
        self.config = config
        self.tracking = list(tracking)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], storage_filesystem: Any = None) -> Result:
        """Read a run's directory, `<storage path>/<name>`; the run may still go on.

        Args:
            path: A local path or a URI; with `storage_filesystem` a path in that, without a scheme.
            storage_filesystem: A `pyarrow.fs.FileSystem` or an fsspec filesystem.
        Raises:
            FileNotFoundError: There is no run.
            ValueError: A file of it is damaged; or a filesystem is given and the path has a scheme.
            paceline.storage.StorageError: The store failed.
        """
        return cls._at(Location(path, storage_filesystem))

    @classmethod
    def _at(cls, location: Location, *, patience_s: float | None = None) -> Result:
        """As `from_path`; `patience_s`: how long a store that fails in a way that may pass is asked again."""
        from paceline.train import _run_directory

        seen = _run_directory.read(location, _run_directory.PATIENCE_S if patience_s is None else patience_s)
        metrics = _run_directory.last_line(seen.lines, location)
        return cls(
            location,
            metrics=metrics,
            best_checkpoints=[
                (Checkpoint._at(where), numbers_again(dict(commit.metrics))) for where, commit in seen.checkpoints
            ],
            error=TrainingFailedError.from_failure(seen.error) if seen.error is not None else None,
            config=seen.params,
            tracking=seen.tracking,
            lines=seen.lines,
        )

    @property
    def path(self) -> str:
        """The run's directory in its store, without a scheme."""
        return self._location.path

    @property
    def uri(self) -> str:
        """The text that names store and path, for `Result.from_path(uri)`; with a filesystem object the bare path."""
        return self._location.uri

    @property
    def filesystem(self) -> Any:
        """The store as a `pyarrow.fs.FileSystem`, in which the run's files are below `path`.

        Raises:
            ImportError: pyarrow is not installed (`paceline[arrow]`).
        """
        return self._location.arrow

    @property
    def metrics_dataframe(self) -> pd.DataFrame | None:
        """All reports, a row each; metrics in dicts become columns `a/b`. None without any report.

        Raises:
            ImportError: pandas is not installed (`paceline[dataframe]`).
            ValueError: A line of `result.json` is damaged.
        """
        try:
            import pandas
        except ImportError as e:
            raise ImportError("metrics_dataframe needs pandas: pip install 'paceline[dataframe]'") from e
        from paceline.train import _run_directory

        rows = _run_directory.all_lines(self._lines, self._location)
        return pandas.json_normalize(rows, sep="/") if rows else None

    def get_best_checkpoint(self, metric: str, mode: Literal["max", "min"]) -> Checkpoint | None:
        """The kept checkpoint with the best value of a metric; of equal ones the later.

        Args:
            metric: Its name; `a/b` is a metric within a dict.
            mode: Whether the largest (`max`) or the smallest (`min`) is best.
        Returns:
            None when the run has no checkpoint.
        Raises:
            ValueError: `mode` is neither, or no checkpoint has a number under that name (the message lists what there
                is).
        """
        from paceline.policy.retention import Candidate, Retention, best

        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}: use 'max' (the largest {metric!r} is best) or 'min'")
        if not self.best_checkpoints:
            return None
        candidates = [Candidate(i, metrics) for i, (_, metrics) in enumerate(self.best_checkpoints)]
        found = best(candidates, Retention(score_attribute=metric, score_order=mode))
        if found is None:
            names = ", ".join(sorted({name for _, metrics in self.best_checkpoints for name in _names(metrics)}))
            raise ValueError(
                f"no checkpoint of {self.uri} has a number as metric {metric!r}; they have: {names or None}"
            )
        return self.best_checkpoints[found][0]

    def __repr__(self) -> str:
        failed = f", error={self.error.type or self.error.reason}" if self.error else ""
        return f"Result({self.uri!r}, metrics={self.metrics}, checkpoint={self.checkpoint}{failed})"


def _names(metrics: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found += _names(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(prefix + name)
    return found
