"""A run as a user sees it: a `RunConfig` and a script go in, real agents train, the `Result` is read from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paceline.train import Checkpoint, Result, RunConfig
from paceline.train._run_settings import write_filesystem
from tests.support.agents import SDK, Job, Pod

ROOT = SDK.parent

# Every epoch (EPOCHS, 3) a checkpoint of all ranks; a restart goes on after the latest. CRASH_AFTER ends attempt 0.
SCRIPT = """
    import os
    import pathlib
    import tempfile

    from paceline import train

    rank, first = train.get_context().get_world_rank(), 0
    checkpoint = train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            first = int(pathlib.Path(folder, f"rank-{rank}.txt").read_text()) + 1
    print(f"begins with epoch {first} of {checkpoint.path if checkpoint else None}")
    for epoch in range(first, int(os.environ.get("EPOCHS", "3"))):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, f"rank-{rank}.txt").write_text(str(epoch))
            saved = train.Checkpoint.from_directory(folder)
            train.report({"epoch": epoch, "loss": [4, 1, 2][epoch], "rank": rank}, checkpoint=saved, wait=True)
        if os.environ.get("CRASH_AFTER") == str(epoch) and os.environ["PACELINE_ATTEMPT"] == "0":
            raise ValueError(f"lost in epoch {epoch}")
"""


class Training:
    """One run. `workers` processes, `per_pod` of them in each pod."""

    def __init__(
        self, directory: Path, config: RunConfig, *, resume_from: Checkpoint | None = None, environ: Any = None,
        workers: int = 2, per_pod: int | None = None, **env: str,
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        self.settings = config.resolve(environ=os.environ if environ is None else environ)
        filesystem = self.settings.storage_filesystem
        file = write_filesystem(filesystem, directory) if filesystem is not None else None
        told = self.settings.environment(file, resume_from=resume_from)
        self.job = Job(directory, workers=workers, per_pod=per_pod, **told, **env)
        self.pods: list[Pod] = []

    def start(
        self, script: str = SCRIPT, *, attempt: int = 0, pods: Mapping[int, Mapping[str, str]] | None = None, **env: str
    ) -> list[Pod]:
        """Start an attempt. `pods` are variables of single pods."""
        command = self.job.script(script)
        self.pods = [
            self.job.start(command, attempt=attempt, pod=i, **env, **(pods or {}).get(i, {}))
            for i in range(self.job.workers // self.job.per_pod)
        ]
        return self.pods

    def end(self, script: str = SCRIPT, **options: Any) -> int:
        """Run an attempt to its end; the lead's exit code."""
        codes = [pod.wait() for pod in self.start(script, **options)]
        return codes[0]

    def fit(self, script: str = SCRIPT, **options: Any) -> Result:
        """Run an attempt, which has to end well."""
        self.end(script, **options)
        assert [pod.process.returncode for pod in self.pods] == [0] * len(self.pods), self.log
        return self.result

    @property
    def result(self) -> Result:
        """What the run has left so far."""
        return Result.from_path(self.settings.run_path, self.settings.storage_filesystem)

    @property
    def log(self) -> str:
        """What the pods of the last attempt printed."""
        return "".join(pod.log for pod in self.pods)

    @property
    def message(self) -> str:
        """Why the last attempt failed, as the lead tells the operator."""
        return str(self.pods[0].message["failure"]["message"])


@contextmanager
def training(directory: Path, config: RunConfig, **options: Any) -> Iterator[Training]:
    """A run whose agents are gone at the end."""
    made = Training(directory, config, **options)
    try:
        yield made
    finally:
        made.job.close()


def epochs(result: Result) -> list[int]:
    """The epochs of the checkpoints that are kept."""
    return [metrics["epoch"] for _, metrics in result.best_checkpoints]
