"""Batches on the device, the next one on its way while this one is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader


class DeviceLoader(DataLoader):  # type: ignore[misc]
    """A loader whose batches are on a device. It has the attributes of the loader that it reads from."""

    def __init__(self, loader: DataLoader, device: torch.device, *, ahead: bool) -> None:
        # Not DataLoader.__init__, which would make samplers: len(), .sampler and .dataset are those of `loader`.
        self.__dict__.update(loader.__dict__)
        self.__dict__.update(_loader=loader, _device=device, _ahead=ahead and device.type == "cuda")

    def __iter__(self) -> Iterator[Any]:
        """The batches of the loader, on the device."""
        if self._ahead:
            return self._iterate_ahead()
        return (moved(batch, self._device) for batch in self._loader)

    def _iterate_ahead(self) -> Iterator[Any]:
        copying = torch.cuda.Stream(self._device)
        batches = iter(self._loader)
        coming = self._start(batches, copying)
        while coming is not _END:
            training = torch.cuda.current_stream(self._device)
            training.wait_stream(copying)
            batch, coming = self._arrived(coming, training), self._start(batches, copying)
            yield batch

    def _start(self, batches: Iterator[Any], stream: Any) -> Any:
        """Begin to copy the tensors of the next batch."""
        batch = next(batches, _END)
        if batch is _END:
            return _END
        with torch.cuda.stream(stream):
            return mapped(batch, lambda value: _to(value, self._device) if _is_tensor(value) else value)

    def _arrived(self, batch: Any, training: Any) -> Any:
        def own(value: Any) -> Any:
            if not _is_tensor(value):
                return value.to(self._device)  # nobody knows what is within, so it is copied in the stream that uses it
            if value.is_cuda:
                # Its memory was taken in the other stream: it is free only after what this one does with it.
                value.record_stream(training)
            return value

        return mapped(batch, own)


_END = object()


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with all of its tensors on a device; what is no tensor stays as it is."""
    return mapped(batch, lambda tensor: _to(tensor, device))


def mapped(batch: Any, function: Callable[[Any], Any]) -> Any:
    """A batch of the same shape with `function` of each tensor (and of each object that has `to`) in its place."""
    if _is_tensor(batch) or hasattr(batch, "to"):
        return function(batch)
    if isinstance(batch, Mapping):
        items = {key: mapped(value, function) for key, value in batch.items()}
        return items if type(batch) is dict else type(batch)(items)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(value, function) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch) if field.init}
        return dataclasses.replace(batch, **{name: mapped(value, function) for name, value in fields.items()})
    return batch


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _to(value: Any, device: torch.device) -> Any:
    if _is_tensor(value):
        # Returns before the copy is done where the tensor is in pinned memory; the stream keeps the order.
        return value.to(device, non_blocking=True)
    return value.to(device)
