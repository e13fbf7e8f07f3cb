"""Collections of garbage around the start of a process of ours."""

from __future__ import annotations

import gc


def hold_off() -> None:
    """Look for none while modules are imported.

    They are none: to look through them again and again takes a quarter of the CPU of `import torch`, a third of that of
    `import lightning` and a fifth of the start of an agent with S3's client.
    """
    gc.disable()


def collect_again() -> None:
    """Look for it from now on, but not through what is there: that stays until the end.

    Neither later collections nor the one at the end of the process look through it.
    """
    gc.freeze()
    gc.enable()
