"""Which device is this process's own?"""

from __future__ import annotations

import torch

from paceline.train import get_context


def get_device() -> torch.device:
    """The device of this process: its (first) GPU, or the CPU where it sees none."""
    return get_devices()[0]


def get_devices() -> list[torch.device]:
    """All devices of this process, of the GPUs that its pod sees; the CPU where there are none.

    The GPUs of a pod are shared out evenly among its processes: with 4 GPUs and 2 processes the second one has `cuda:2`
    and `cuda:3`. Processes that see fewer GPUs than they are share them.
    """
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    context = get_context()
    own = device_indices(visible, context.get_local_rank(), context.get_local_world_size())
    return [torch.device("cuda", index) for index in own] or [torch.device("cpu")]


def device_indices(visible: int, local_rank: int, local_world_size: int) -> list[int]:
    """Indices, among the GPUs that a pod sees, of those of one process.

    Args:
        visible: How many GPUs there are.
        local_rank: Number of the process in its pod.
        local_world_size: How many processes the pod has.
    """
    if visible == 0:
        return []
    each = visible // local_world_size
    if each == 0:
        return [local_rank % visible]
    return list(range(local_rank * each, (local_rank + 1) * each))
