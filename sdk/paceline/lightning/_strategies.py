"""Lightning's strategies, with devices and ranks as Paceline set them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from paceline.lightning._package import Late
from paceline.train import get_context


class _Placed(Late):
    """What differs from Lightning's strategy of the same name."""

    if TYPE_CHECKING:  # Lightning's own, which no type checker sees here

        def __init__(self, *arguments: Any, **options: Any) -> None: ...

    @property
    def root_device(self) -> Any:
        """The device of this process, a `torch.device`."""
        return self.parallel_devices[get_context().get_local_rank()]

    @property
    def parallel_devices(self) -> Any:
        """The first device of each process of this pod, whatever number of devices the Trainer was given."""
        return self._parallel_devices

    @parallel_devices.setter
    def parallel_devices(self, devices: Any) -> None:
        self._parallel_devices = _of_each_process(devices) if devices else devices

    @property
    def num_nodes(self) -> int:
        """Number of pods."""
        return get_context().get_world_size() // get_context().get_local_world_size()

    @num_nodes.setter
    def num_nodes(self, num_nodes: int) -> None:
        pass  # a Trainer sets what it was given, 1 for most

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """This rank's share of the data."""
        return {"num_replicas": get_context().get_world_size(), "rank": get_context().get_world_rank()}

    def _configure_launcher(self) -> None:
        # Nothing is to be launched. Without a launcher it also works in a notebook, where Lightning refuses this one.
        if not self.cluster_environment.creates_processes_externally:  # type: ignore[attr-defined]
            super()._configure_launcher()  # type: ignore[misc]


class _OnGpus(_Placed):
    @property
    def accelerator(self) -> Any:
        """The Trainer's accelerator.

        Raises:
            ValueError: Set to one that is no GPU.
        """
        return self._accelerator

    @accelerator.setter
    def accelerator(self, accelerator: Any) -> None:
        if isinstance(accelerator, import_module(f"{self._package}.accelerators").CPUAccelerator):
            raise ValueError(
                f"{type(self).__name__} needs GPUs, and this Trainer runs on the CPU: use DDPStrategy() there, or ask"
                " for GPUs, by ScalingConfig(use_gpu=True) or spec.workers.resources.gpu of the TrainJob"
            )
        self._accelerator = accelerator


class DDPStrategy(_Placed):
    """Each rank has the whole model, gradients are averaged; on GPUs and CPUs.

    The arguments are those of Lightning's `DDPStrategy`.
    """

    _base: ClassVar[str] = "strategies.DDPStrategy"


class FSDPStrategy(_OnGpus):
    """Parameters, gradients and the optimizer's state are sharded; on GPUs.

    The arguments are those of Lightning's `FSDPStrategy`.
    """

    _base: ClassVar[str] = "strategies.FSDPStrategy"


class DeepSpeedStrategy(_OnGpus):
    """DeepSpeed's ZeRO, stages 1 to 3; on GPUs, and with the package `deepspeed`.

    The arguments are those of Lightning's `DeepSpeedStrategy`.
    """

    _base: ClassVar[str] = "strategies.DeepSpeedStrategy"


def _of_each_process(devices: list[Any]) -> list[Any]:
    """The devices of all processes of this pod, by local rank.

    Args:
        devices: What the Trainer found or was given; it tells the kind.
    """
    import torch

    from paceline.torch._device import device_indices

    processes = get_context().get_local_world_size()
    if devices[0].type != "cuda":
        return [devices[0]] * processes
    visible = torch.cuda.device_count()
    return [torch.device("cuda", device_indices(visible, local_rank, processes)[0]) for local_rank in range(processes)]
