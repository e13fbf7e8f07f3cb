"""The same numbers in every run."""

from __future__ import annotations

import os
import random

import torch


def enable_reproducibility(seed: int = 0) -> None:
    """Seed Python, numpy and torch alike on every rank, and let torch use deterministic algorithms only.

    Call it first in the training function. Training becomes slower, and an operation that has no deterministic
    algorithm raises. Workers of a `DataLoader` get their seeds from torch's, so these are the same too.

    Args:
        seed: 0 to 4294967295.
    Raises:
        ValueError: The seed is outside of that.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}: pass a whole number from 0 to {2**32 - 1}")
    random.seed(seed)
    torch.manual_seed(seed)
    try:
        import numpy as np
    except ModuleNotFoundError:
        pass
    else:
        np.random.seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # Read by cuBLAS when it is first used; without it deterministic algorithms raise on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
