"""`TorchConfig`: how the processes of a run join one process group, around the training function."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

from paceline import _contract as c
from paceline.trainer._framework import Framework


@dataclass(frozen=True)
class TorchConfig(Framework):
    """The process group that each worker joins before the training function begins.

    `with TorchConfig().session():` does the same in a script that runs without a trainer, as the command of a TrainJob.

    Attributes:
        backend: `nccl`, `gloo` or another of torch.distributed. None: nccl where this process has a GPU, else gloo.
        init_method: `env` (torch reads MASTER_ADDR and MASTER_PORT itself) or `tcp` (the same address as a URL).
        timeout_s: Seconds after which a collective that not all ranks have joined fails.
    """

    backend: str | None = None
    init_method: Literal["env", "tcp"] = "env"
    timeout_s: float = 1800

    name: ClassVar[Literal["torch", "tensorflow", "none"]] = "torch"

    def __post_init__(self) -> None:
        if self.backend is not None and (not isinstance(self.backend, str) or not self.backend.strip()):
            raise TypeError(f"TorchConfig.backend is {self.backend!r}: pass 'nccl', 'gloo', or None for the right one")
        if self.init_method not in ("env", "tcp"):
            raise ValueError(f"TorchConfig.init_method is {self.init_method!r}: use 'env' or 'tcp'")
        seconds = self.timeout_s
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"TorchConfig.timeout_s is {seconds!r}: pass a number of seconds")
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"TorchConfig.timeout_s is {seconds}: pass a number of seconds above 0")

    def session(self) -> AbstractContextManager[None]:
        """Join the process group, and leave it at the end.

        A group that exists already is left as it is. The code within may destroy the group, and make another.

        Raises:
            ImportError: torch is not installed.
            ValueError: torch does not know the backend, or was built without it.
        """
        return _process_group(self)


@contextmanager
def _process_group(config: TorchConfig) -> Iterator[None]:
    try:
        import torch.distributed as dist
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise ImportError("TorchConfig needs PyTorch in every worker: pip install 'paceline[torch]'") from None
    if dist.is_initialized():
        yield
        return
    _join(config, dist)
    try:
        yield
    except BaseException:
        # With other ranks in the middle of a collective, leaving could wait for them: this process ends soon anyway.
        if _world_size() == 1:
            _leave(dist)
        raise
    _leave(dist)


def _join(config: TorchConfig, dist: Any) -> None:
    import torch

    from paceline.torch._device import get_device

    device = get_device()
    backend = config.backend or ("nccl" if device.type == "cuda" else "gloo")
    _check_backend(backend, device.type, dist)
    options: dict[str, Any] = {"timeout": timedelta(seconds=config.timeout_s)}
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if "nccl" in backend:
            # The communicator is bound to the device at once: no guess from the rank, and no deadlock by a wrong one.
            options["device_id"] = device
    rank, world_size = int(os.environ.get(c.RANK) or 0), _world_size()
    if c.MASTER_ADDR not in os.environ and world_size == 1:
        options |= {"store": dist.HashStore(), "rank": 0, "world_size": 1}
    elif config.init_method == "tcp":
        url = f"tcp://{os.environ[c.MASTER_ADDR]}:{os.environ[c.MASTER_PORT]}"
        options |= {"init_method": url, "rank": rank, "world_size": world_size}
    else:
        options |= {"init_method": "env://", "rank": rank, "world_size": world_size}
    dist.init_process_group(backend, **options)


def _check_backend(backend: str, device: str, dist: Any) -> None:
    missing = {"nccl": dist.is_nccl_available, "gloo": dist.is_gloo_available, "mpi": dist.is_mpi_available}
    for part in backend.split(","):
        name = part.rpartition(":")[2].strip().lower()
        if name not in dist.Backend.backend_list:
            known = ", ".join(sorted({*dist.Backend.backend_list} - {"undefined"}))
            raise ValueError(f"TorchConfig.backend is {backend!r}: torch knows {known}")
        if name in missing and not missing[name]():
            raise ValueError(f"TorchConfig.backend is {backend!r}: this torch was built without {name}; leave it out")
        if name == "nccl" and device == "cpu":
            raise ValueError(
                f"TorchConfig.backend is {backend!r}, and this process sees no GPU: leave it out (gloo is taken then),"
                " or ask for GPUs by ScalingConfig(use_gpu=True)"
            )


def _world_size() -> int:
    return int(os.environ.get(c.WORLD_SIZE) or 1)


def _leave(dist: Any) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
