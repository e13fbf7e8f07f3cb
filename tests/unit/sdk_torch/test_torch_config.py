"""`TorchConfig` and the lazy names, where no framework is installed."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from paceline.torch import TorchConfig, TorchTrainer
from paceline.trainer import Trainer


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        pytest.param(
            {"backend": 3}, TypeError, "TorchConfig.backend is 3: pass 'nccl', 'gloo'", id="backend of a kind"
        ),
        pytest.param({"backend": " "}, TypeError, "TorchConfig.backend is ' '", id="empty backend"),
        pytest.param(
            {"init_method": "file"}, ValueError, "init_method is 'file': use 'env' or 'tcp'", id="init method"
        ),
        pytest.param({"timeout_s": "60"}, TypeError, "timeout_s is '60': pass a number of seconds", id="timeout text"),
        pytest.param({"timeout_s": 0}, ValueError, "timeout_s is 0: pass a number of seconds above 0", id="no timeout"),
        pytest.param({"timeout_s": float("inf")}, ValueError, "timeout_s is inf", id="endless"),
    ],
)
def test_a4_a_wrong_torch_config_is_refused_in_the_users_line(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        TorchConfig(**arguments)


def test_a4_the_config_travels_to_the_workers() -> None:
    given = TorchConfig(backend="gloo", init_method="tcp", timeout_s=60)
    assert pickle.loads(pickle.dumps(given)) == given
    assert given.name == "torch"


def test_a1_a_torch_trainer_is_a_trainer_with_a_process_group() -> None:
    def train_fn() -> None: ...

    given = TorchConfig(timeout_s=5)
    assert isinstance(TorchTrainer(train_fn), Trainer)
    assert TorchTrainer(train_fn)._plan.framework == TorchConfig()
    assert TorchTrainer(train_loop_per_worker=train_fn, torch_config=given)._plan.framework is given
    with pytest.raises(TypeError, match="torch_config is 'gloo', a str: pass a TorchConfig"):
        TorchTrainer(train_fn, torch_config="gloo")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="scaling_cfg"):
        TorchTrainer(train_fn, scaling_cfg=2)


def test_importing_the_packages_loads_no_framework() -> None:
    code = (
        "import sys, paceline.torch, paceline.lightning\n"
        "print([m for m in ('torch', 'lightning', 'pytorch_lightning', 'pyarrow', 'cloudpickle') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_missing_framework_is_an_import_error_with_the_extra_to_install() -> None:
    torch: Any = importlib.import_module("paceline.torch")
    lightning: Any = importlib.import_module("paceline.lightning")
    for name in ("prepare_model", "prepare_data_loader", "get_device", "get_devices", "enable_reproducibility"):
        with pytest.raises(
            ImportError, match=rf"paceline\.torch\.{name} needs PyTorch: pip install 'paceline\[torch\]'"
        ):
            getattr(torch, name)
    with pytest.raises(
        ImportError, match=r"TorchConfig needs PyTorch in every worker: pip install 'paceline\[torch\]'"
    ):
        TorchConfig().session().__enter__()
    for name in ("DDPStrategy", "LightningEnvironment", "TrainReportCallback"):
        with pytest.raises(ImportError, match=rf"{name} needs PyTorch Lightning: pip install 'paceline\[lightning\]'"):
            getattr(lightning, name)()
    with pytest.raises(AttributeError, match="no attribute 'prepare_optimizer'"):
        torch.prepare_optimizer  # noqa: B018
