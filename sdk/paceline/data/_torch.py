"""Batches as tensors of torch. This module is imported when they are asked for, and torch with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from paceline.data._convert import to_numpy
from paceline.data._options import check_known


def target(device: Any) -> torch.device:
    """The device that the user means.

    Raises:
        ValueError: torch knows no such device.
    """
    if device == "auto":
        # The one that the framework's session has chosen for this process.
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as e:
        raise ValueError(f"device is {device!r}: use 'auto', 'cpu', 'cuda', 'cuda:0' or a torch.device ({e})") from None


def converter(
    what: str,
    columns: Sequence[str],
    dtypes: Any,
    collate: Callable[[dict[str, Any]], Any] | None,
    device: torch.device,
) -> Callable[[Any], Any]:
    """What makes tensors, still on the CPU, of a `pyarrow.Table`.

    Args:
        what: Begins the errors of the conversion.
        columns: Their names.
        dtypes: As the user gives them.
        collate: The user's own conversion, instead.
        device: Where the tensors go; for a GPU they are made in pinned memory.
    Raises:
        TypeError: `dtypes` is of another type.
        ValueError: `dtypes` names no column, or there is a `collate` too.
    """
    pin = device.type == "cuda"
    if collate is not None:
        if dtypes is not None:
            raise ValueError("dtypes and collate_fn are both given: let collate_fn choose the types")
        if not callable(collate):
            raise TypeError(f"collate_fn is a {type(collate).__name__}: pass a function of a dict of numpy arrays")
        return lambda table: _each(collate(to_numpy(table, what)), torch.Tensor.pin_memory if pin else _same)
    wanted = _wanted(columns, dtypes)

    def convert(table: Any) -> dict[str, torch.Tensor]:
        found = {
            name: _tensor(array, wanted.get(name), f"{what}: column {name!r}")
            for name, array in to_numpy(table, what).items()
        }
        return {name: tensor.pin_memory() for name, tensor in found.items()} if pin else found

    return convert


def mover(device: torch.device) -> Callable[[Any], Any]:
    """What moves all tensors of a batch to a device; in the caller's thread, whose stream counts."""
    return lambda batch: _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _wanted(columns: Sequence[str], dtypes: Any) -> Mapping[str, torch.dtype]:
    given = dtypes if isinstance(dtypes, Mapping) else dict.fromkeys(columns, dtypes)
    check_known("dtypes", list(given), columns)
    for dtype in given.values():
        if dtype is not None and not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtypes has {dtype!r}: pass a torch.dtype such as torch.float32, or a dict by column")
    return given


def _tensor(array: Any, dtype: torch.dtype | None, where: str) -> torch.Tensor:
    try:
        tensor = torch.from_numpy(array)
    except TypeError:
        kind = "lists of different lengths, texts or objects" if array.dtype == object else f"of type {array.dtype}"
        raise ValueError(
            f"{where} is no tensor: it holds {kind}; leave it out with columns=[...], or convert it with collate_fn"
        ) from None
    return tensor if dtype is None else tensor.to(dtype)


def _each(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(inner, change) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_each(inner, change) for inner in value))
    if isinstance(value, list | tuple):
        return type(value)(_each(inner, change) for inner in value)
    return value


def _same(value: Any) -> Any:
    return value
