"""How many workers a run has, and what each of them gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from paceline.train._configs import check_bool, check_text
from paceline.train._keywords import explained, problem

Placement = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]

_RESOURCES = ["CPU", "GPU", "memory"]
_HINTS = {
    "trainer_resources": "there is no process beside the workers, so nothing is reserved for one; leave it out",
    "_max_cpu_fraction_per_node": "Kubernetes places the workers by their requests; leave it out",
    "use_tpu": "workers get CPUs and GPUs; leave it out",
    "topology": "workers get CPUs and GPUs; leave it out",
    "num_gpus": "write use_gpu=True and, for more than one each, resources_per_worker={'GPU': n}",
    "num_gpus_per_worker": "write use_gpu=True, resources_per_worker={'GPU': n}",
    "num_cpus_per_worker": "write resources_per_worker={'CPU': n}",
    "num_cpus": "write resources_per_worker={'CPU': n}",
}


@explained(_HINTS)
@dataclass(frozen=True, slots=True)
class ScalingConfig:
    """How many workers there are, and what each gets.

    Attributes:
        num_workers: Processes that run the training function, 1 or more.
        use_gpu: Every worker gets a GPU, or as many as `resources_per_worker["GPU"]` says. False: the workers see none.
        resources_per_worker: `CPU` (also a fraction), `GPU` (a whole number) and `memory` (bytes) of a worker. On this
            machine only `GPU` is looked at: nothing keeps a process from using every core.
        placement_strategy: `PACK` (few nodes), `SPREAD` (many), `STRICT_PACK` (one node), `STRICT_SPREAD` (a node for
            each worker). On this machine all workers are on one.
        accelerator_type: Kind of GPU, such as `A100`, by the names that the operator's configuration knows; read by a
            run on Kubernetes alone.
    """

    num_workers: int = 1
    use_gpu: bool = False
    resources_per_worker: Mapping[str, float] | None = None
    placement_strategy: Placement = "PACK"
    accelerator_type: str | None = None

    def __post_init__(self) -> None:
        self._check_workers()
        check_bool("ScalingConfig.use_gpu", self.use_gpu)
        self._check_resources()
        if self.placement_strategy not in get_args(Placement):
            raise ValueError(
                f"ScalingConfig.placement_strategy is {self.placement_strategy!r}: use one of"
                f" {', '.join(get_args(Placement))}"
            )
        if self.accelerator_type is not None:
            check_text("ScalingConfig.accelerator_type", self.accelerator_type)
            if not self.use_gpu:
                raise ValueError(
                    f"ScalingConfig.accelerator_type is {self.accelerator_type!r}, but use_gpu is False: write"
                    " use_gpu=True too, or leave accelerator_type out"
                )

    @property
    def gpus_per_worker(self) -> int:
        """GPUs of each worker."""
        if not self.use_gpu:
            return 0
        return int((self.resources_per_worker or {}).get("GPU", 1))

    @property
    def cpus_per_worker(self) -> float | None:
        """CPUs of each worker; None: not said."""
        return (self.resources_per_worker or {}).get("CPU")

    @property
    def memory_bytes_per_worker(self) -> int | None:
        """Memory of each worker; None: not said."""
        given = (self.resources_per_worker or {}).get("memory")
        return None if given is None else int(given)

    def _check_workers(self) -> None:
        given: Any = self.num_workers
        if isinstance(given, bool) or not isinstance(given, int):
            raise TypeError(
                f"ScalingConfig.num_workers is {given!r}, a {type(given).__name__}: pass a whole number, 1 or more"
            )
        if given == 0:
            raise ValueError(
                "ScalingConfig.num_workers is 0: to run the function in this process, for a debugger, keep"
                " num_workers=1 and call fit(in_process=True)"
            )
        if given < 0:
            raise ValueError(f"ScalingConfig.num_workers is {given}: pass a whole number, 1 or more")

    def _check_resources(self) -> None:
        given: Any = self.resources_per_worker
        if given is None:
            return
        what = "ScalingConfig.resources_per_worker"
        if not isinstance(given, Mapping):
            raise TypeError(f"{what} is a {type(given).__name__}: pass a dict such as {{'CPU': 4, 'GPU': 1}}")
        for name, value in given.items():
            if name not in _RESOURCES:
                raise ValueError(problem(what, str(name), _RESOURCES, _resource_hints(str(name))))
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{what}[{name!r}] is {value!r}, a {type(value).__name__}: pass a number")
            if not 0 <= value < math.inf:
                raise ValueError(f"{what}[{name!r}] is {value}: pass a number, 0 or more")
            if name != "CPU" and value != int(value):
                raise ValueError(f"{what}[{name!r}] is {value}: pass a whole number; workers do not share a GPU")
        self._check_gpus(given.get("GPU"))

    def _check_gpus(self, gpus: float | None) -> None:
        if gpus and not self.use_gpu:
            raise ValueError(
                f"ScalingConfig.resources_per_worker asks for GPU={gpus:g}, but use_gpu is False: write use_gpu=True"
                " too, or leave GPU out"
            )
        if gpus == 0 and self.use_gpu:
            raise ValueError(
                "ScalingConfig.use_gpu is True, but resources_per_worker has GPU=0: leave GPU out (a worker then gets"
                " one), or write use_gpu=False"
            )


def _resource_hints(name: str) -> dict[str, str]:
    """Kubernetes' names, and others in another case."""
    if name.lower() in ("nvidia.com/gpu", "amd.com/gpu", "gpu"):
        return {name: "write 'GPU'"}
    near = {known.lower(): known for known in _RESOURCES}.get(name.lower())
    return {name: f"write {near!r}"} if near else {}
