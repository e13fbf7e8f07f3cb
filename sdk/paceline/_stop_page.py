"""A page of memory that an agent shares with one of its processes: is the group told to stop, and after which question?

`train.should_stop()` is asked in every step, so an answer must not cost a message. Four numbers of 64 bits in a mapped
file; each has one writer. The protocol is in docs/design/0007-failures.md.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

OWNER: Final = 0  # pid of the process that counts its questions; written by it
ASKED: Final = 1  # its questions so far, this one included; written by it before it looks at HOLD
HOLD: Final = 2  # 1: wait for STOP_AT before the next answer; written by the agent
STOP_AT: Final = 3  # from this question on the answer is yes; 0: not decided; written by the agent

_NUMBERS = 4
_BYTES = 8 * _NUMBERS


def create(path: str) -> memoryview:
    """Make the file, all zero.

    Raises:
        OSError: It cannot be made.
    """
    with open(path, "wb") as f:  # noqa: PTH123 - training processes import this module, and pathlib is slow to load
        # Written rather than left sparse: on a full disk the first use of a hole would kill the process by SIGBUS.
        f.write(bytes(_BYTES))
    return attach(path)


def attach(path: str) -> memoryview:
    """Map the file that `create` made.

    Raises:
        OSError, ValueError: It is not there, or no such file.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        return memoryview(mmap.mmap(fd, _BYTES)).cast("Q")
    finally:
        os.close(fd)
