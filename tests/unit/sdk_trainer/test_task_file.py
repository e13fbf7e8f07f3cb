"""The task file: what goes along, what cannot, and who may read it."""

from __future__ import annotations

import functools
import importlib
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from paceline.trainer import Framework, Task, TaskError, _pickling, _task
from tests.support.agents import SDK
from tests.support.timeouts import LOCAL_S

LOCK = threading.Lock()


def task(function: Callable[..., Any], config: dict[str, Any] | None = None, **more: Any) -> Task:
    return Task(function, config, takes_config=config is not None, framework=Framework(), **more)


def locks() -> None:
    with LOCK:
        pass


def calls_locks(config: dict[str, Any]) -> None:
    locks()


class Holder:
    __slots__ = ("handle",)

    def __init__(self) -> None:
        self.handle = LOCK

    def train(self) -> None:
        pass


def with_closure() -> Callable[[], Any]:
    inner_lock, fine = threading.Lock(), 3
    return lambda: (inner_lock, fine)


def with_default(config: Any = LOCK) -> None:
    pass


@pytest.mark.parametrize(
    ("made", "said"),
    [
        pytest.param(
            lambda: task(with_closure()), r"the variable `inner_lock`, which with_closure.* uses", id="closure"
        ),
        pytest.param(lambda: task(calls_locks, {}), "the global variable `LOCK`, which locks uses", id="global"),
        pytest.param(lambda: task(Holder().train), "`self` of Holder.train.handle is a _thread.lock", id="method"),
        pytest.param(
            lambda: task(functools.partial(print, [1, {"a": LOCK}])), r"\['a'\] is a _thread.lock", id="partial"
        ),
        pytest.param(lambda: task(with_default), "the default of with_default's argument `config`", id="default"),
        pytest.param(
            lambda: task(print, {"data": [1, (LOCK,)]}), r"train_loop_config\['data'\]\[1\]\[0\] is a", id="config"
        ),
        pytest.param(lambda: task(print, sources={"train": LOCK}), r"datasets\['train'\] is a", id="datasets"),
    ],
)
def test_what_cannot_be_pickled_is_named(made: Callable[[], Task], said: str) -> None:
    with pytest.raises(TypeError, match=f"{said}.*cannot be handed to the workers.*make it inside the training func"):
        _task.dumps(made())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's directory with modules, which no worker can import."""
    (tmp_path / "own_layers.py").write_text("WIDTH = 3\ndef width():\n    return WIDTH\n")
    (tmp_path / "own_train.py").write_text(
        "import own_layers\nfrom own_layers import width\n"
        "class Net:\n    def size(self):\n        return width() + own_layers.WIDTH\n"
        "def train_fn():\n    print(Net().size(), Net.__module__)\n"
    )
    (tmp_path / "own_state.py").write_text("import threading\nLOCK = threading.Lock()\nX = 1\n")
    (tmp_path / "own_uses_state.py").write_text("import own_state\ndef train_fn():\n    print(own_state.X)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def run_elsewhere(data: bytes, directory: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """In a process that has another module path."""
    (directory / "task").write_bytes(data)
    return subprocess.run(
        [sys.executable, "-m", "paceline.trainer.worker", str(directory / "task")],
        env={"PYTHONPATH": ":".join(map(str, [SDK, *path]))},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=LOCAL_S * 3,
    )


def test_modules_of_the_user_go_along_and_those_that_cannot_go_by_name(project: Path, tmp_path: Path) -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    train_fn = importlib.import_module("own_train").train_fn
    done = run_elsewhere(_task.dumps(task(train_fn)), tmp_path)
    assert (done.returncode, done.stdout) == (0, "6 own_train\n"), done.stderr
    # A module that is used as a whole and holds a lock: by name.
    data = _task.dumps(task(importlib.import_module("own_uses_state").train_fn))
    assert run_elsewhere(data, tmp_path, project).stdout == "1\n"
    missing = run_elsewhere(data, tmp_path)
    assert missing.returncode != 0
    assert "own_uses_state.py:train_fn needs the module own_state, which this worker does not have" in missing.stderr
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_installed_modules_go_by_name() -> None:
    own = {module.__name__ for module in _pickling.own_modules()}
    assert __name__ in own
    assert not own & {"pytest", "json", "paceline", "paceline.train", "cloudpickle.cloudpickle", "os", "__main__"}


def test_a_task_survives_the_file() -> None:
    given = Task(with_closure, {"lr": 0.1}, True, Framework(), sources=[1])
    again = _task.loads(_task.dumps(given))
    assert (again.config, again.takes_config, again.sources) == ({"lr": 0.1}, True, [1])
    assert isinstance(again.framework, Framework)
    assert again.function.__name__ == "with_closure"


def test_the_header_is_read_before_anything_is_unpickled(tmp_path: Path) -> None:
    data = _task.dumps(task(locks_not))
    about = _task.header(data)
    assert (about.python, about.function, about.format) == (
        f"{sys.version_info[0]}.{sys.version_info[1]}",
        "test_task_file.py:locks_not",
        1,
    )
    line, _, body = data.partition(b"\n")

    def with_header(**changed: Any) -> bytes:
        return json.dumps({**json.loads(line), **changed}).encode() + b"\nnot a pickle"

    for broken, said in (
        (
            with_header(python="3.9"),
            r"locks_not was pickled by Python 3\.9, and this worker runs Python 3\.\d+: use an",
        ),
        (with_header(format=2, paceline="9.9"), r"format 2, made by paceline 9\.9; paceline .* reads format 1"),
        (b"\x80\x05 nothing", "no task file, or a damaged one"),
        (b"", "no task file, or a damaged one"),
        (line, "ends after its first line"),
    ):
        with pytest.raises(TaskError, match=said):
            _task.loads(broken)
    done = run_elsewhere(with_header(python="3.9"), tmp_path)
    assert done.returncode != 0
    assert "was pickled by Python 3.9" in done.stderr
    assert pickle.loads(body)["function"].__name__ == "locks_not"


def locks_not() -> None:
    pass


def test_functions_are_called_as_they_want_to_be() -> None:
    got: list[Any] = []

    def optional(config: Any = "default") -> None:
        got.append(config)

    for function, config, takes in (
        (lambda: got.append("nothing"), None, False),
        (lambda config: got.append(config), None, True),
        (lambda config: got.append(config), {"a": 1}, True),
        (optional, None, True),
        (optional, {"a": 2}, True),
    ):
        Task(function, config, takes, Framework()).call()
    assert got == ["nothing", {}, {"a": 1}, "default", {"a": 2}]
