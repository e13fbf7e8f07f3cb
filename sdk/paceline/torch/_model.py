"""`prepare_model`: one model on several ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from paceline.torch._device import get_device

_STRATEGIES = ("ddp", "fsdp", None)


def prepare_model(
    model: nn.Module,
    move_to_device: bool | torch.device = True,
    parallel_strategy: Literal["ddp", "fsdp"] | None = "ddp",
    parallel_strategy_kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Move a model to this process's device, and let the ranks train it together. Call it on every rank.

    Args:
        model: With parameters that need a gradient. With one rank it is returned as it is, on the device.
        move_to_device: False: it is there already. A device: that one. With `fsdp` the shards are always moved.
        parallel_strategy: `ddp`: each rank has the whole model, gradients are averaged (`DistributedDataParallel`; the
            model itself is `.module` of what is returned). `fsdp`: parameters, gradients and the optimizer's state are
            sharded (`fully_shard`, in place: the same object is returned; make the optimizer afterwards). None:
            neither.
        parallel_strategy_kwargs: More arguments of `DistributedDataParallel` or `fully_shard`. For `fsdp` also
            `shard_classes`, a class or several: each module of these is sharded by itself (the blocks of a transformer,
            say), so that one at a time is gathered and not the whole model.
    Raises:
        TypeError: It is no module.
        ValueError: The strategy is unknown, or no module is of `shard_classes`.
        RuntimeError: There are several ranks and no process group, or no parameter needs a gradient (`ddp`).
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"prepare_model: model is a {type(model).__name__}: pass a torch.nn.Module")
    if parallel_strategy not in _STRATEGIES:
        raise ValueError(f"prepare_model: parallel_strategy is {parallel_strategy!r}: use 'ddp', 'fsdp' or None")
    device = move_to_device if isinstance(move_to_device, torch.device) else get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kwargs = dict(parallel_strategy_kwargs or {})
    several = parallel_strategy is not None and _several()
    if several and parallel_strategy == "fsdp":
        # It moves each block when it shards it: the whole model may be larger than the device.
        return _fsdp(model, device, kwargs)
    if move_to_device:
        model = model.to(device)
    if not several:
        return model
    if device.type == "cuda":
        kwargs = {"device_ids": [device], "output_device": device} | kwargs
    return nn.parallel.DistributedDataParallel(model, **kwargs)


def _several() -> bool:
    """Whether several ranks train together."""
    from paceline.train import get_context

    if dist.is_initialized():
        return bool(dist.get_world_size() > 1)
    if get_context().get_world_size() == 1:
        return False
    raise RuntimeError(
        f"prepare_model: this is rank {get_context().get_world_rank()} of {get_context().get_world_size()}, and there"
        " is no process group: start it by TorchTrainer, or put the training into `with TorchConfig().session():`"
    )


def _fsdp(model: nn.Module, device: torch.device, kwargs: dict[str, Any]) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    classes = kwargs.pop("shard_classes", ())
    classes = classes if isinstance(classes, type) else tuple(classes)
    # Of this device, not of the first accelerator that torch finds: a gloo run stays on the CPU of a machine with GPUs.
    kwargs.setdefault("mesh", init_device_mesh(device.type, (dist.get_world_size(),)))
    # Children first: what is sharded already is left out of its parent's share.
    blocks = [
        module for module in reversed(list(model.modules())) if isinstance(module, classes) and module is not model
    ]
    if classes and not blocks:
        raise ValueError(f"prepare_model: shard_classes is {classes!r}, and the model has no module of them")
    for block in blocks:
        fully_shard(block, **kwargs)
    return fully_shard(model, **kwargs)
