"""`TorchTrainer(train_fn, ...).fit()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paceline.torch._config import TorchConfig
from paceline.train import Checkpoint
from paceline.train._configs import RunConfig
from paceline.train._scaling import ScalingConfig
from paceline.trainer._backend import Backend
from paceline.trainer._trainer import _NOT_GIVEN, Trainer


class TorchTrainer(Trainer):
    """Runs a PyTorch training function in several processes, which are one process group.

        def train_fn(config):
            model = prepare_model(Net())
            ...

        result = TorchTrainer(train_fn, scaling_config=ScalingConfig(num_workers=2)).fit()

    On this machine, or with `backend=` elsewhere. See `Trainer` for the methods.
    """

    def __init__(
        self,
        train_fn: Callable[..., Any] = _NOT_GIVEN,
        *,
        train_loop_config: Mapping[str, Any] | None = None,
        torch_config: TorchConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: Mapping[str, Any] | None = None,
        dataset_config: Any = None,
        resume_from_checkpoint: Checkpoint | None = None,
        backend: Backend | None = None,
        train_loop_per_worker: Callable[..., Any] = _NOT_GIVEN,
        **unknown: Any,
    ) -> None:
        """Check the arguments; those of `Trainer`, and one more.

        Args:
            train_fn: The training function, with no argument or with one, the configuration.
            train_loop_config: Given to the function, and kept in `params.json`.
            torch_config: How the workers join one process group. None: nccl on GPUs, gloo on CPUs.
            scaling_config: How many workers. None: one.
            run_config: Name, storage, failures, checkpoints. None: a new name in the default storage, no restart.
            datasets: For `train.get_dataset_shard`.
            dataset_config: How `datasets` are read and split.
            resume_from_checkpoint: Where the first attempt starts. None: at the latest checkpoint of a run of this
                name, if there is one.
            backend: Where it runs. None: on this machine.
            train_loop_per_worker: Another name of `train_fn`.
        Raises:
            TypeError, ValueError: An argument cannot be used; the message says what to change.
        """
        if torch_config is not None and not isinstance(torch_config, TorchConfig):
            raise TypeError(
                f"torch_config is {torch_config!r:.80}, a {type(torch_config).__name__}: pass a TorchConfig"
            )
        super().__init__(
            train_fn,
            train_loop_config=train_loop_config,
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            resume_from_checkpoint=resume_from_checkpoint,
            backend=backend,
            framework=torch_config or TorchConfig(),
            train_loop_per_worker=train_loop_per_worker,
            **unknown,
        )
