"""`prepare_data_loader`: each rank reads its own share, on its own device."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from paceline.torch._device import get_device
from paceline.torch._transfer import DeviceLoader
from paceline.train import get_context


def prepare_data_loader(
    data_loader: DataLoader,
    add_dist_sampler: bool = True,
    move_to_device: bool = True,
    auto_transfer: bool = True,
) -> DataLoader:
    """Give each rank its own share of the data, and batches on its device. Call it on every rank.

    The data is shared out by a `DistributedSampler`, which shuffles when the loader did. Each iteration is the next
    epoch, with another order; `loader.sampler.set_epoch(n)` names it, after a restart for instance. All ranks get the
    same number of samples: without `drop_last` a few are seen twice where the number of ranks does not divide the data,
    with `drop_last` a few are left out. Everything else of the loader stays, and the given one is not changed.

    A loader that divides its data otherwise (an `IterableDataset`, a sampler or batch sampler of your own) is
    left alone, with a warning on rank 0; one that has a `DistributedSampler` already, without.

    Args:
        data_loader: `batch_size` is that of one rank.
        add_dist_sampler: False: every rank reads everything.
        move_to_device: Move each batch to this process's device: tensors in lists, tuples and dicts, and what has a
            method `to`.
        auto_transfer: On a GPU: from pinned memory, in a stream of its own, one batch ahead of the training.
    Raises:
        TypeError: It is no DataLoader.
    """
    if not isinstance(data_loader, DataLoader):
        raise TypeError(
            f"prepare_data_loader: data_loader is a {type(data_loader).__name__}: pass a torch.utils.data.DataLoader"
        )
    loader = _shared_out(data_loader) if add_dist_sampler and get_context().get_world_size() > 1 else data_loader
    device = get_device()
    if not move_to_device or device.type == "cpu":
        return loader
    if auto_transfer and not loader.pin_memory:
        loader = _changed(loader, pin_memory=True)
    return DeviceLoader(loader, device, ahead=auto_transfer)


class EpochSampler(DistributedSampler):  # type: ignore[misc]
    """A `DistributedSampler` that goes on to the next epoch by itself."""

    def __iter__(self) -> Iterator[int]:
        """This rank's indices of `epoch`."""
        order: Iterator[int] = super().__iter__()
        self.epoch += 1
        return order


def _shared_out(loader: DataLoader) -> DataLoader:
    context = get_context()
    own = getattr(loader.batch_sampler, "sampler", None)
    if isinstance(loader.sampler, DistributedSampler) or isinstance(own, DistributedSampler):
        return loader
    if reason := _left_alone(loader):
        if context.get_world_rank() == 0:
            warnings.warn(f"prepare_data_loader: {reason}", UserWarning, stacklevel=3)
        return loader
    sampler = EpochSampler(
        loader.dataset,
        num_replicas=context.get_world_size(),
        rank=context.get_world_rank(),
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
    )
    batches = None if loader.batch_size is None else BatchSampler(sampler, loader.batch_size, loader.drop_last)
    return _changed(loader, sampler=sampler, batch_sampler=batches)


def _left_alone(loader: DataLoader) -> str | None:
    """Why the data of this loader cannot be shared out here, and what to do; None: it can."""
    way_out = "let it take the share of paceline.train.get_context().get_world_rank()"
    if isinstance(loader.dataset, IterableDataset):
        kind = type(loader.dataset).__name__
        return f"every rank reads all of the IterableDataset {kind}, which only it can share out: {way_out}"
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        kind = type(loader.batch_sampler).__name__
        return f"every rank takes all batches of your batch_sampler {kind}: {way_out}"
    sampler = loader.sampler
    if type(sampler) not in (SequentialSampler, RandomSampler):
        kind = type(sampler).__name__
        return f"every rank takes all samples of your sampler {kind}: {way_out}, or give a DistributedSampler"
    if isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples != len(loader.dataset)):
        return "every rank draws its own samples with your RandomSampler, of all data: seed each rank otherwise"
    return None


def _changed(loader: DataLoader, **attributes: Any) -> DataLoader:
    """A copy that differs in these attributes alone; it shares dataset, collate function and generator.

    A copy, and not a new object made of the old one's arguments: so it works for subclasses of DataLoader, and for
    arguments that a later torch adds.
    """
    changed = copy.copy(loader)
    for name, value in {**attributes, "_iterator": None}.items():
        # DataLoader's own __setattr__ refuses to exchange the sampler.
        object.__setattr__(changed, name, value)
    return changed
