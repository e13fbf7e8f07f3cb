"""What `Trainer(...)` refuses, before anything starts."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from paceline.train import RunConfig, ScalingConfig
from paceline.trainer import Backend, Plan, Trainer


def nothing() -> None:
    pass


def one(config: dict[str, Any]) -> None:
    pass


def optional(config: dict[str, Any] | None = None) -> None:
    pass


def two(config: dict[str, Any], extra: int) -> None:
    pass


def named(*, config: dict[str, Any]) -> None:
    pass


def generator(config: dict[str, Any]) -> Iterator[int]:
    yield 1


async def coroutine(config: dict[str, Any]) -> None:
    pass


async def async_generator(config: dict[str, Any]) -> AsyncIterator[int]:
    yield 1


@functools.wraps(generator)
def wrapped(*args: Any) -> Any:
    return generator(*args)


class Callable:
    def __call__(self, config: dict[str, Any]) -> None:
        pass

    def train(self, config: dict[str, Any]) -> None:
        pass


class CallableGenerator:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "the training function is None, a NoneType: pass a function"),
        (Callable, "Callable is a class: pass a function"),
        (two, r"two\(config: .*extra: .*\).* needs config and extra.*`def train_fn\(config\)`"),
        (named, r"named\(.*needs config, and"),
        (generator, "generator is a generator.*paceline.train.report"),
        (wrapped, "is a generator"),
        (functools.partial(generator, {}), "is a generator"),
        (CallableGenerator(), "CallableGenerator is a generator"),
        (coroutine, "coroutine is an async function.*plain `def`"),
        (async_generator, "async_generator is an async function"),
    ],
)
def test_functions_that_workers_cannot_call(function: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Trainer(function)


@pytest.mark.parametrize(
    ("function", "takes_config"),
    [
        (nothing, False),
        (one, True),
        (optional, True),
        (lambda *args: None, True),
        (functools.partial(two, extra=1), True),
        (Callable(), True),
        (Callable().train, True),
    ],
)
def test_functions_that_they_can(function: Any, takes_config: bool) -> None:
    assert Trainer(function)._plan.task.takes_config is takes_config
    assert Trainer(train_loop_per_worker=function)._plan.task.function is function


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            {"train_loop_config": {"a": 1}, "fn": nothing},
            ValueError,
            r"nothing\(\) takes no argument: write `def nothi",
        ),
        ({"train_loop_config": [1]}, TypeError, "train_loop_config is a list: pass a dict"),
        ({"train_loop_config": {1: 2}}, TypeError, "has the key 1, a int: use texts"),
        ({"scaling_config": {"num_workers": 2}}, TypeError, "scaling_config is .*, a dict: pass a ScalingConfig"),
        ({"run_config": "name"}, TypeError, "run_config is 'name', a str: pass a RunConfig"),
        ({"resume_from_checkpoint": "s3://b/c"}, TypeError, "a str: pass a Checkpoint"),
        ({"backend": "kubernetes"}, TypeError, "backend is 'kubernetes', a str: leave it out"),
        ({"framework": "torch"}, TypeError, "pass a Framework"),
        ({"scaling": 1}, TypeError, "Trainer has no scaling: did you mean scaling_config"),
        ({"preprocessor": 1}, TypeError, "Trainer has no preprocessor: transform batches"),
        ({"train_loop_per_worker": one}, TypeError, "are the same argument: give one of them"),
    ],
)
def test_arguments_that_make_no_sense(given: dict[str, Any], error: type[Exception], said: str) -> None:
    function = given.pop("fn", one)
    with pytest.raises(error, match=said):
        Trainer(function, **given)
    with pytest.raises(TypeError, match="the training function is missing"):
        Trainer()


class Recorded:
    """A backend that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Plan, bool]] = []

    def run(self, plan: Plan, *, detach: bool) -> Any:
        self.asked.append((plan, detach))
        return "handle" if detach else "result"

    def to_manifest(self, plan: Plan) -> str:
        return f"kind: {plan.function_name}"


def test_a_backend_gets_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Recorded()
    assert isinstance(backend, Backend)
    trainer = Trainer(one, train_loop_config={"lr": 1}, scaling_config=ScalingConfig(3), backend=backend)
    assert trainer.fit(detach=True) == "handle"
    assert trainer.fit() == "result"  # type: ignore[comparison-overlap]
    assert trainer.to_manifest() == "kind: test_trainer_arguments.py:one"
    plan, detach = backend.asked[0]
    assert (plan.scaling.num_workers, plan.run, plan.task.config, detach) == (3, RunConfig(), {"lr": 1}, True)
    assert (plan.name_prefix, plan.framework.name, plan.resume_from) == ("one", "none", None)
    with pytest.raises(ValueError, match="pass backend=Kubernetes"):
        Trainer(one).to_manifest()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(RuntimeError, match=r"under torchrun.*run the script with python"):
        Trainer(one).fit()
    monkeypatch.setenv("PACELINE_AGENT_SOCKET", "/somewhere")
    monkeypatch.setenv("PACELINE_IN_FIT", "train.py:train_fn")
    with pytest.raises(RuntimeError, match=r"fit\(\) was called in a worker of the run of train.py:train_fn.*__main__"):
        trainer.fit()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("train_fn", "train-fn"), ("Train__Loop9", "train-loop9"), ("_", "run"), ("9lives", "run"), ("x" * 60, "x" * 24)],
)
def test_the_name_of_a_run_begins_with_the_functions(name: str, prefix: str) -> None:
    def function() -> None:
        pass

    function.__qualname__ = name
    assert Trainer(function)._plan.name_prefix == prefix
