"""Parts of `paceline.torch` in this process: devices, loaders, sessions. Several ranks: test_torch_ranks."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from paceline.torch import (
    TorchConfig,
    enable_reproducibility,
    get_device,
    get_devices,
    prepare_data_loader,
    prepare_model,
)
from paceline.torch._transfer import DeviceLoader, moved

DATA = TensorDataset(torch.arange(23))


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be one rank of several."""

    def be(rank: int, world_size: int, *, local: tuple[int, int] | None = None) -> None:
        local_rank, local_world_size = local or (rank, world_size)
        values = {
            "RANK": rank,
            "WORLD_SIZE": world_size,
            "LOCAL_RANK": local_rank,
            "LOCAL_WORLD_SIZE": local_world_size,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return be


@pytest.mark.parametrize(
    ("visible", "local", "wanted"),
    [
        pytest.param(0, (1, 2), ["cpu"], id="no GPU"),
        pytest.param(1, (0, 1), ["cuda:0"], id="one worker, one GPU"),
        pytest.param(2, (1, 2), ["cuda:1"], id="a GPU for each worker"),
        pytest.param(4, (1, 2), ["cuda:2", "cuda:3"], id="two for each worker"),
        pytest.param(8, (0, 1), [f"cuda:{i}" for i in range(8)], id="all for one worker"),
        pytest.param(3, (1, 2), ["cuda:1"], id="one left over"),
        pytest.param(1, (1, 2), ["cuda:0"], id="one shared, or masked for each process"),
    ],
)
def test_a7_the_device_follows_what_the_pod_sees(
    visible: int, local: tuple[int, int], wanted: list[str], ranks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    ranks(9, 16, local=local)  # the world's ranks have nothing to do with it
    assert get_devices() == [torch.device(name) for name in wanted]
    assert get_device() == torch.device(wanted[0])


def test_a8_outside_a_worker_everything_is_that_of_one_process() -> None:
    model, loader = nn.Linear(2, 2), DataLoader(DATA, batch_size=4, shuffle=True)
    assert prepare_model(model) is model
    assert prepare_model(model, parallel_strategy="fsdp") is model
    assert prepare_data_loader(loader) is loader
    assert get_devices() == [torch.device("cpu")]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        pytest.param({"model": print}, TypeError, "model is a builtin_function_or_method", id="no module"),
        pytest.param({"parallel_strategy": "zero"}, ValueError, "'zero': use 'ddp', 'fsdp' or None", id="strategy"),
    ],
)
def test_a4_prepare_model_says_what_it_cannot_use(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        prepare_model(**{"model": nn.Linear(2, 2), **arguments})


def test_a4_a_rank_without_a_process_group_is_told_how_to_get_one(ranks: Callable[..., None]) -> None:
    ranks(1, 2)
    with pytest.raises(RuntimeError, match=r"rank 1 of 2, and there is no process group: start it by TorchTrainer"):
        prepare_model(nn.Linear(2, 2))


class Numbers(IterableDataset):  # type: ignore[misc]
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        pytest.param(DataLoader(Numbers()), "all of the IterableDataset Numbers", id="iterable"),
        pytest.param(
            DataLoader(DATA, batch_sampler=type("Mine", (BatchSampler,), {})(SequentialSampler(DATA), 4, False)),
            "your batch_sampler Mine",
            id="batch sampler",
        ),
        pytest.param(DataLoader(DATA, sampler=SubsetRandomSampler([1, 2])), "your sampler SubsetRandom", id="sampler"),
        pytest.param(
            DataLoader(DATA, sampler=RandomSampler(DATA, replacement=True)), "draws its own samples", id="replacement"
        ),
        pytest.param(DataLoader(DATA, sampler=DistributedSampler(DATA, 2, 0)), None, id="shared out already"),
    ],
)
def test_a4_a_loader_that_divides_its_data_itself_is_left_alone(
    loader: Any, says: str | None, ranks: Callable[..., None]
) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ranks(1, 2)
        assert prepare_data_loader(loader) is loader
        assert told == []  # one rank's warning is enough
        ranks(0, 2)
        assert prepare_data_loader(loader) is loader
    assert [str(warning.message).startswith("prepare_data_loader: ") for warning in told] == [True] * bool(says)
    assert all(says in str(warning.message) for warning in told if says)
    assert all(warning.filename == __file__ for warning in told)


def test_a4_a_prepared_loader_keeps_all_but_its_sampler(ranks: Callable[..., None]) -> None:
    class Mine(DataLoader):  # type: ignore[misc]
        pass

    def begin(worker: int) -> None: ...

    generator = torch.Generator().manual_seed(7)
    given = Mine(DATA, 4, True, drop_last=True, num_workers=1, timeout=9, worker_init_fn=begin, generator=generator)
    ranks(1, 2)
    got = prepare_data_loader(given)
    assert type(got) is Mine
    assert isinstance(given.sampler, RandomSampler)
    assert isinstance(got.sampler, DistributedSampler)
    assert (got.sampler.shuffle, got.sampler.drop_last, got.sampler.rank, got.sampler.num_replicas) == (
        True,
        True,
        1,
        2,
    )
    kept = ("batch_size", "drop_last", "num_workers", "timeout", "worker_init_fn", "generator", "collate_fn", "dataset")
    assert [getattr(got, name) for name in kept] == [getattr(given, name) for name in kept]
    assert len(got) == 2  # 23 samples, 11 for each rank, in fours
    assert prepare_data_loader(given, add_dist_sampler=False) is given

    # Without batches of the loader's own, each sample is one.
    assert len(list(prepare_data_loader(DataLoader(DATA, batch_size=None)))) == 12
    with pytest.raises(TypeError, match=r"data_loader is a list: pass a torch\.utils\.data\.DataLoader"):
        prepare_data_loader([1, 2])


def test_a4_each_iteration_is_the_next_epoch_until_another_is_named(ranks: Callable[..., None]) -> None:
    def order(loader: Any) -> list[int]:
        return [int(number) for (batch,) in loader for number in batch]

    ranks(0, 2)
    loader = prepare_data_loader(DataLoader(DATA, batch_size=4, shuffle=True))
    first, second, third = order(loader), order(loader), order(loader)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    loader.sampler.set_epoch(1)  # after a restart
    assert [order(loader), order(loader)] == [second, third]
    for epoch in (2, 0):  # by a script that does so in each epoch
        loader.sampler.set_epoch(epoch)
        assert order(loader) == [first, second, third][epoch]


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Sample:
    x: torch.Tensor
    name: str


def test_a4_batches_of_every_shape_move(ranks: Callable[..., None]) -> None:
    meta = torch.device("meta")
    ones = torch.ones(2)
    batch = {
        "list": [ones, "text"],
        "tuple": (ones, 3),
        "pair": Pair(ones, None),
        "dict": OrderedDict(x=ones),
        "sample": Sample(ones, "a"),
        "packed": nn.utils.rnn.pack_sequence([ones]),
    }
    found = moved(batch, torch.device("cpu"))
    assert {name: type(part) for name, part in found.items()} == {name: type(part) for name, part in batch.items()}
    found = moved({**batch, "packed": None}, meta)
    assert (found["list"][1], found["tuple"][1], found["pair"].y, found["sample"].name) == ("text", 3, None, "a")
    tensors = (found["list"][0], found["tuple"][0], found["pair"].x, found["dict"]["x"], found["sample"].x)
    assert {tensor.device for tensor in tensors} == {meta}

    ranks(0, 2)
    loader = DeviceLoader(prepare_data_loader(DataLoader(DATA, batch_size=4)), meta, ahead=True)
    assert (len(loader), loader.batch_size, isinstance(loader.sampler, DistributedSampler)) == (3, 4, True)
    assert [x.device for (x,) in loader] == [meta] * 3


def test_a4_the_session_copes_with_what_the_function_does_to_the_group() -> None:
    with TorchConfig().session():
        assert (dist.get_backend(), dist.get_rank(), dist.get_world_size()) == ("gloo", 0, 1)
        with TorchConfig().session():  # the group is there: it is used, and stays
            pass
        assert dist.is_initialized()
    assert not dist.is_initialized()

    with TorchConfig(timeout_s=60).session():
        dist.destroy_process_group()
    assert not dist.is_initialized()

    with TorchConfig().session():
        dist.destroy_process_group()
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert not dist.is_initialized()

    with pytest.raises(KeyError, match="mine"), TorchConfig().session():
        raise KeyError("mine")
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        pytest.param("glo", "TorchConfig.backend is 'glo': torch knows .*gloo", id="unknown"),
        pytest.param("mpi", "this torch was built without mpi", id="not built"),
        pytest.param("nccl", "nccl.*(this process sees no GPU: leave it out|built without nccl)", id="no GPU"),
    ],
)
def test_a4_a_backend_that_cannot_work_is_refused(backend: str, says: str) -> None:
    with pytest.raises(ValueError, match=says), TorchConfig(backend=backend).session():
        pass


def test_a4_a_seed_makes_runs_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        drawn = []
        for seed in (3, 3, 4):
            enable_reproducibility(seed)
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        assert drawn[0] == drawn[1]
        assert not set(drawn[0]) & set(drawn[2])
        assert torch.are_deterministic_algorithms_enabled()
        with pytest.raises(ValueError, match="seed is -1: pass a whole number from 0"):
            enable_reproducibility(-1)
    finally:
        torch.use_deterministic_algorithms(False)
