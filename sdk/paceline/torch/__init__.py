"""PyTorch in Paceline: the trainer, and what makes a plain training loop a distributed one.

    from paceline.torch import TorchTrainer, prepare_data_loader, prepare_model

    def train_fn(config):
        model = prepare_model(Net())
        loader = prepare_data_loader(DataLoader(data, batch_size=32, shuffle=True))
        ...

    TorchTrainer(train_fn, scaling_config=ScalingConfig(num_workers=2)).fit()

Importing it does not import torch; using a name that needs it does. Outside a worker everything works too: rank 0 of 1.
"""

from typing import TYPE_CHECKING, Any

from paceline import _later

if TYPE_CHECKING:
    from paceline.torch._config import TorchConfig
    from paceline.torch._device import get_device, get_devices
    from paceline.torch._loader import prepare_data_loader
    from paceline.torch._model import prepare_model
    from paceline.torch._seed import enable_reproducibility
    from paceline.torch._trainer import TorchTrainer

__all__ = [
    "TorchConfig",
    "TorchTrainer",
    "enable_reproducibility",
    "get_device",
    "get_devices",
    "prepare_data_loader",
    "prepare_model",
]

_HOME = {
    "TorchConfig": "_config",
    "TorchTrainer": "_trainer",
    "enable_reproducibility": "_seed",
    "get_device": "_device",
    "get_devices": "_device",
    "prepare_data_loader": "_loader",
    "prepare_model": "_model",
}


_find, __dir__ = _later.names(__name__, _HOME)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise ImportError(f"{__name__}.{name} needs PyTorch: pip install 'paceline[torch]'", name="torch") from None
