"""Read a checkpoint of the digits job back from where it is stored, and print its accuracy.

    python evaluate.py "$(kubectl get tj digits -o jsonpath='{.status.checkpoint.path}')"

As a TrainJob (evaluate.yaml) it takes the checkpoint that `spec.checkpoints.resumeFrom` names and reports the accuracy
as the job's result.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from train import STATE, build_model, load_data

from paceline.train import Checkpoint, get_checkpoint, report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", help="URI or directory; in a TrainJob: its resumeFrom")
    parser.add_argument("--data", default="digits", help="'digits' or a .npz file with the arrays x and y")
    args = parser.parse_args()

    checkpoint = Checkpoint(args.checkpoint) if args.checkpoint else get_checkpoint()
    if checkpoint is None:
        print("no checkpoint: name one as the argument, or by spec.checkpoints.resumeFrom", file=sys.stderr)
        return 2
    accuracy, step = evaluate(checkpoint, args.data)
    print(f"checkpoint {checkpoint.uri}\nstep       {step}\naccuracy   {accuracy:.4f}")
    report({"accuracy": accuracy, "step": step})
    return 0


@torch.no_grad()
def evaluate(checkpoint: Checkpoint, data: str) -> tuple[float, int]:
    """Return the accuracy on the validation set, and the step at which the checkpoint was made."""
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, STATE), map_location="cpu", weights_only=True)
    model = build_model()
    model.load_state_dict(state["model"])
    model.eval()
    _, validation_set = load_data(data)
    x, y = validation_set.tensors
    return (model(x).argmax(dim=1) == y).float().mean().item(), state["step"]


if __name__ == "__main__":
    sys.exit(main())
