"""`Trainer(train_fn, ...).fit()`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from paceline import _contract as c
from paceline.train import Checkpoint
from paceline.train._configs import RunConfig
from paceline.train._keywords import problem
from paceline.train._result import Result
from paceline.train._scaling import ScalingConfig
from paceline.trainer import _function
from paceline.trainer._backend import Backend
from paceline.trainer._framework import Framework
from paceline.trainer._plan import Plan
from paceline.trainer._task import Task

if TYPE_CHECKING:
    from paceline.data import DataConfig

_HINTS = {
    "train_loop": "the function is the first argument, or train_loop_per_worker",
    "metadata": "put it into train_loop_config, which params.json keeps",
    "preprocessor": "transform batches in the training function; leave it out",
    "torch_config": "it belongs to paceline.torch.TorchTrainer",
    "tensorflow_config": "it belongs to paceline.tensorflow.TensorflowTrainer",
}
_NOT_GIVEN: Any = object()


class Trainer:
    """Runs one function in several processes: on this machine, or with `backend=` elsewhere.

        trainer = Trainer(train_fn, train_loop_config={"lr": 0.1}, scaling_config=ScalingConfig(num_workers=2))
        result = trainer.fit()

    Every worker calls `train_fn(config)` or `train_fn()`; what `paceline.train` offers works within. Making a trainer
    starts nothing: it checks what can be checked.
    """

    def __init__(
        self,
        train_fn: Callable[..., Any] = _NOT_GIVEN,
        *,
        train_loop_config: Mapping[str, Any] | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: Mapping[str, Any] | None = None,
        dataset_config: DataConfig | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        backend: Backend | None = None,
        train_loop_per_worker: Callable[..., Any] = _NOT_GIVEN,
        framework: Framework | None = None,
        **unknown: Any,
    ) -> None:
        """Check the arguments.

        Args:
            train_fn: The training function, with no argument or with one, the configuration.
            train_loop_config: Given to the function, and kept in `params.json`.
            scaling_config: How many workers. None: one.
            run_config: Name, storage, failures, checkpoints. None: a new name in the default storage, no restart.
            datasets: Name -> paths, a `pyarrow.dataset.Dataset` or a `pyarrow.Table`, for `train.get_dataset_shard`.
            dataset_config: How `datasets` are read and split.
            resume_from_checkpoint: Where the first attempt starts. None: at the latest checkpoint of a run of this
                name, if there is one.
            backend: Where it runs. None: on this machine.
            train_loop_per_worker: Another name of `train_fn`.
            framework: What surrounds the function; the trainers of the framework packages give it.
        Raises:
            TypeError, ValueError: An argument cannot be used; the message says what to change.
            FileNotFoundError: A local file of `datasets` is not there.
            ImportError: `datasets` need pyarrow, which is not installed.
        """
        function = _one_function(train_fn, train_loop_per_worker)
        if unknown:
            named = {**type(self).__init__.__annotations__, **Trainer.__init__.__annotations__}
            known = [name for name in named if name not in ("return", "unknown", "others")]
            raise TypeError(problem(type(self).__name__, next(iter(unknown)), known, _HINTS))
        takes_config = _function.takes_config(function)
        self._plan = Plan(
            task=Task(
                function=function,
                config=_config(train_loop_config, function, takes_config),
                takes_config=takes_config,
                framework=_of_kind("framework", framework, Framework) or Framework(),
                sources=_sources(datasets, dataset_config, here=backend is None),
            ),
            scaling=_of_kind("scaling_config", scaling_config, ScalingConfig) or ScalingConfig(),
            run=_of_kind("run_config", run_config, RunConfig) or RunConfig(),
            resume_from=_of_kind("resume_from_checkpoint", resume_from_checkpoint, Checkpoint),
        )
        if backend is not None and not isinstance(backend, Backend):
            raise TypeError(
                f"{type(self).__name__}.backend is {backend!r}, a {type(backend).__name__}: leave it out to run on"
                " this machine, or pass a backend such as Kubernetes(image=...)"
            )
        self._backend = backend

    @overload
    def fit(self, *, in_process: bool = ..., detach: Literal[False] = ...) -> Result: ...

    @overload
    def fit(self, *, in_process: Literal[False] = ..., detach: Literal[True]) -> Any: ...

    def fit(self, *, in_process: bool = False, detach: bool = False) -> Any:
        """Run the function in every worker, to the end of the run.

        In a worker of a TrainJob, whose command is the script that calls this, the workers are there already: the
        function runs in this process as its rank, and the TrainJob's manifest decides workers, storage and restarts. On
        rank 0 the result tells of this process's last report; on the others the process ends here.

        Args:
            in_process: Call it in this process instead, as rank 0 of 1: breakpoints work. Always on this machine;
                reports, checkpoints and the result are the same; nothing is restarted.
            detach: Return a handle as soon as the run is started; for a backend that goes on without this process.
        Returns:
            The result, or the handle.
        Raises:
            TrainingFailedError: The run failed, and no restart was left. What it has made until then is kept, and
                `Result.from_path(error.path)` reads it.
            TypeError, ValueError: Something cannot be handed to the workers, or the run cannot be started as asked;
                nothing has been started.
            KeyboardInterrupt: Ctrl-C. On this machine the workers have ended by then.
        """
        if in_process and detach:
            raise ValueError("fit(in_process=True, detach=True): a run in this process cannot go on without it")
        if os.environ.get(c.AGENT_SOCKET):
            _refuse_nesting()
            from paceline.trainer import _inside

            return _inside.fit(self._plan)
        if os.environ.get("TORCHELASTIC_RUN_ID"):
            raise RuntimeError(
                "fit() was called under torchrun, which has started a process for each rank already. fit() starts them"
                " itself: run the script with python, or call the training function where fit() is"
            )
        if self._backend is not None and not in_process:
            return self._backend.run(self._plan, detach=detach)
        if detach:
            raise ValueError(
                "fit(detach=True) on this machine: the workers end with this process. Leave detach out, or pass a"
                " backend that goes on alone, such as Kubernetes(image=...)"
            )
        from paceline.trainer._local import fit

        return fit(self._plan, in_process=in_process)

    def to_manifest(self) -> str:
        """The objects that `fit()` would create, as YAML; nothing is created.

        Raises:
            ValueError: The run is one on this machine, which needs none.
        """
        if self._backend is None:
            raise ValueError("to_manifest() belongs to a run on Kubernetes: pass backend=Kubernetes(image=...)")
        return self._backend.to_manifest(self._plan)


def _one_function(train_fn: Any, train_loop_per_worker: Any) -> Any:
    given = [f for f in (train_fn, train_loop_per_worker) if f is not _NOT_GIVEN]
    if len(given) == 2:
        raise TypeError("train_fn and train_loop_per_worker are the same argument: give one of them")
    if not given:
        raise TypeError("the training function is missing: pass it as the first argument")
    return given[0]


def _of_kind(name: str, given: Any, kind: type) -> Any:
    if given is not None and not isinstance(given, kind):
        raise TypeError(f"{name} is {given!r:.80}, a {type(given).__name__}: pass a {kind.__name__}")
    return given


def _config(given: Any, function: Any, takes_config: bool) -> dict[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"train_loop_config is a {type(given).__name__}: pass a dict")
    strange = [key for key in given if not isinstance(key, str)]
    if strange:
        raise TypeError(f"train_loop_config has the key {strange[0]!r}, a {type(strange[0]).__name__}: use texts")
    if not takes_config:
        raise ValueError(
            f"train_loop_config is given, but {_function.called(function)}() takes no argument: write"
            f" `def {_function.called(function).rpartition('.')[2]}(config)`, or leave train_loop_config out"
        )
    return dict(given)


def _sources(datasets: Any, dataset_config: Any, *, here: bool) -> Any:
    if not datasets and dataset_config is None:
        return None
    from paceline.data import open_sources

    return open_sources(datasets, dataset_config, here=here)


def _refuse_nesting() -> None:
    """A worker that starts a run would start workers that start runs."""
    if function := os.environ.get(c.IN_FIT):
        raise RuntimeError(
            f"fit() was called in a worker of the run of {function}. A script that the workers import starts its run"
            ' under `if __name__ == "__main__":`; and a TrainJob is one run, so its script calls fit() once'
        )
