"""Two ranks take steps of a fifth of a second together, each step with a checkpoint, and go wrong when told to.

    python3 step_train.py STEPS [TROUBLE]

Each step ends with a message both ways, as with an all-reduce: neither rank is a step ahead. Trouble comes to rank 1 of
the first attempt in step AT, which rank 0 has reported then. `train.should_stop()` is asked once in every step.
"""

import contextlib
import json
import os
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable

from paceline import train

STEP_S = 0.2
AT = 6
# What asks for the trouble: by then the operator knows how far rank 0 is, and can tell what is lost.
GO = pathlib.Path("/tmp/go")


def hang_on_a_device() -> None:
    """Wait for what does not come."""
    time.sleep(3600)


def fill_memory() -> None:
    """Ask for more than the container may have."""
    wait_for_go()
    held: list[bytes] = []
    while True:
        held.append(b"\1" * (8 << 20))


def exit_with(code: int) -> None:
    """End as a script does that knows why."""
    wait_for_go()
    print(f"leaving with {code}", flush=True)
    sys.exit(code)


def wait_for_go() -> None:
    """Until somebody has made the file."""
    while not GO.exists():
        time.sleep(0.1)


TROUBLES: dict[str, Callable[[], None]] = {
    "hang": hang_on_a_device,
    "memory": fill_memory,
    "exit 3": lambda: exit_with(3),
}


def main() -> None:
    """Go on after the latest checkpoint."""
    steps, trouble = int(sys.argv[1]), " ".join(sys.argv[2:])
    rank = train.get_context().get_world_rank()
    done = 0
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            done = json.loads(pathlib.Path(folder, f"rank-{rank}.json").read_text())["step"]
    other = meet(rank)
    print(f"begins after step {done}", flush=True)
    for step in range(done + 1, steps + 1):
        time.sleep(STEP_S)
        exchange(other)
        stop = train.should_stop()
        if trouble and step == AT and rank == 1 and os.environ["PACELINE_ATTEMPT"] == "0":
            TROUBLES[trouble]()
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, f"rank-{rank}.json").write_text(json.dumps({"step": step}))
            train.report({"step": step}, checkpoint=train.Checkpoint.from_directory(folder))
        if stop:
            print(f"stops after step {step}", flush=True)
            break


def meet(rank: int) -> socket.socket:
    """Wait for the other rank; return the connection to it."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if rank == 0:
        return socket.create_server(("", where[1])).accept()[0]
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection(where)
        time.sleep(0.1)


def exchange(other: socket.socket) -> None:
    """Wait until the other rank is here as well: for ever when it has gone, as NCCL does."""
    with contextlib.suppress(ConnectionError):
        other.sendall(b".")
        if other.recv(1):
            return
    time.sleep(3600)


if __name__ == "__main__":
    main()
