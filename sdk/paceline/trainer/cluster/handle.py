"""`RunHandle`: a run on a cluster that goes on without the process that started it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

try:
    from paceline.api import TrainJob, TrainJobStatus
    from paceline.client import logtail, podlog
    from paceline.client.cluster import Cluster
    from paceline.client.connection import Target, connect
    from paceline.client.errors import NotFoundError
    from paceline.client.jobs import changes, gone, parse
    from paceline.train import Result
    from paceline.trainer.cluster import ending, following
    from paceline.trainer.cluster.naming import job_name
except ImportError as error:  # a script that follows a run need not have made its backend here
    raise ImportError(f"a run on Kubernetes needs {error.name}: pip install 'paceline[cli]'") from None


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A TrainJob, as `fit(detach=True)` returns it and `RunHandle.find` finds it.

    Every method asks the cluster anew, and raises `paceline.client.errors.ClientError`, with a sentence, where that
    cannot be asked; `NotFoundError` of it where the job is not there any more.

    Attributes:
        name: Of the TrainJob.
        uid: Tells it from another of the same name.
    """

    name: str
    uid: str
    _cluster: Cluster

    @classmethod
    def find(
        cls,
        name: str,
        *,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | os.PathLike[str] | None = None,
    ) -> RunHandle:
        """Find a run that any process has started.

        Args:
            name: `RunConfig.name`, or the name of the TrainJob.
            namespace: As for `Kubernetes`.
            context: As for `Kubernetes`.
            kubeconfig: As for `Kubernetes`.
        Raises:
            NotFoundError: There is none.
            ClusterError: The cluster cannot be asked.
        """
        cluster = connected(kubeconfig, context, namespace)
        job = parse(cluster.job(job_name(name)))
        return cls(job.name, job.uid, cluster)

    @property
    def namespace(self) -> str:
        """Where it is."""
        return self._cluster.namespace

    @property
    def status(self) -> TrainJobStatus:
        """How it stands: `phase`, `attempt`, `restarts`, `progress`, `checkpoint`, `conditions`, `history` ..."""
        return self._job().status

    def logs(self, rank: int = 0, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that a worker has written in the newest attempt.

        Args:
            rank: Of the worker.
            follow: Go on until the worker has ended.
        Raises:
            ValueError: There is no such rank.
        """
        job = self._job()
        workers = job.spec.workers
        if not 0 <= rank < workers.count:
            raise ValueError(f"rank is {rank}: {self.name} has the ranks 0 to {workers.count - 1}")
        want = logtail.wanted(rank=rank, every=False, attempt=None, per_pod=workers.per_pod)
        for pod in logtail.readable(logtail.chosen(self._cluster.pods(self.name), want)):
            lines = podlog.lines(self._cluster, self.name, pod) if follow else self._cluster.log_lines(pod)
            for line in lines:
                if workers.per_pod == 1 or logtail.of_rank(line, rank):
                    yield line.decode(errors="replace")

    def wait(self, timeout_s: float | None = None) -> TrainJobStatus:
        """Wait until the run is over, well or not; return its status then.

        Args:
            timeout_s: Seconds at most; None: as long as it takes.
        Raises:
            TimeoutError: It is not over by then; it goes on.
            NotFoundError: It was deleted.
        """
        return self._wait(timeout_s).status

    def cancel(self) -> None:
        """Delete the TrainJob. Its workers are asked to end and may save; what is in storage stays.

        A run that is gone already is no error.
        """
        try:
            self._job()
            self._cluster.delete(self.name)
        except NotFoundError:
            return

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the end of the run, and return what it left.

        Args:
            timeout_s: As for `wait`.
        Raises:
            TrainingFailedError: It failed.
            TimeoutError, NotFoundError: As for `wait`.
        """
        job = self._wait(timeout_s)
        if job.status.phase == "Failed":
            raise ending.failure(job)
        found, note = ending.result(job)
        if note:
            following.say(self.name, note)
        return found

    def _job(self) -> TrainJob:
        job = parse(self._cluster.job(self.name))
        if job.uid != self.uid:
            raise gone(self.name)
        return job

    def _wait(self, timeout_s: float | None) -> TrainJob:
        job = self._job()
        for seen in changes(self._cluster, job, timeout_s):
            if seen.uid != self.uid:
                raise gone(self.name)
            job = seen
            if job.status.finished:
                return job
        raise TimeoutError(f"{self.name} is {job.status.phase} after {timeout_s:g} s; it goes on")

    def __repr__(self) -> str:
        return f"RunHandle({self.name!r}, namespace={self.namespace!r})"


def connected(kubeconfig: str | os.PathLike[str] | None, context: str | None, namespace: str | None) -> Cluster:
    """Return the way to a cluster.

    Raises:
        ImportError: What speaks to clusters is not installed.
        ClusterError: There is no usable kubeconfig.
    """
    try:
        import kubernetes  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise ImportError(f"a run on Kubernetes needs {error.name}: pip install 'paceline[cli]'") from None
    file = None if kubeconfig is None else os.path.expanduser(os.fspath(kubeconfig))  # noqa: PTH111
    return Cluster(connect(Target(file, context, namespace)))
