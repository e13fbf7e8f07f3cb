"""`fit()` in the workers of a TrainJob: the script that a laptop runs is the job's command as it is."""

from __future__ import annotations

from pathlib import Path

from tests.support.agents import job

SCRIPT = """
    import os, pathlib, sys, tempfile
    from paceline import train
    from paceline.train import RunConfig, ScalingConfig
    from paceline.trainer import Trainer

    def train_fn(config):
        first = 0
        if checkpoint := train.get_checkpoint():
            with checkpoint.as_directory() as folder:
                first = int(pathlib.Path(folder, "step").read_text())
        for step in range(first + 1, config["steps"] + 1):
            if step == 3 and os.environ["PACELINE_ATTEMPT"] == "0" and os.environ["RANK"] == "1":
                raise LookupError("no third batch")
            given = None
            with tempfile.TemporaryDirectory() as folder:
                if os.environ["RANK"] == "0":
                    pathlib.Path(folder, "step").write_text(str(step))
                    given = train.Checkpoint.from_directory(folder)
                train.report({"step": step, "loss": float("nan") if step == 4 else 1 / step}, checkpoint=given)

    trainer = Trainer(
        train_fn, train_loop_config={"steps": 4}, scaling_config=ScalingConfig(num_workers=7),
        run_config=RunConfig(name="elsewhere"),
    )
    result = trainer.fit()
    print("after fit:", os.environ["RANK"], result.metrics, result.checkpoint.path, result.path, result.config)
    try:
        trainer.fit()
    except RuntimeError as error:
        print("again:", error)
"""


def test_every_worker_runs_the_function_as_its_rank_and_rank_0_goes_on_with_the_result(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as running:
        failed = running.train(SCRIPT)
        assert failed.message["failure"]["type"] == "LookupError"
        assert failed.message["failure"]["rank"] == 1
        assert "after fit" not in failed.log
        done = running.train(SCRIPT, attempt=1)
        assert done.message["outcome"] == "succeeded", done.log
        said = [line for line in done.log.splitlines() if "after fit" in line]
        assert len(said) == 1, "one driver, not one for each rank"
        checkpoint = running.run / "checkpoint_000003"
        assert f"0 {{'step': 4, 'loss': nan}} {checkpoint} {running.run} " in said[0]
        assert "'train_loop_config': {'steps': 4}" in said[0]
        assert checkpoint.is_dir(), "it was committed by then"
        assert "a TrainJob is one run, so its script calls fit() once" in done.log
        assert "train.py:train_fn in 2 workers, not the 7 of ScalingConfig: the TrainJob job decides" in done.log
        assert [line["step"] for line in running.results()] == [1, 2, 3, 4]
        # Nothing is left to do: the result is that of the checkpoint.
        again = running.train(SCRIPT, attempt=2)
        (told,) = (line for line in again.log.splitlines() if "after fit" in line)
        assert f"0 {{'step': 4, 'loss': nan}} {checkpoint} {running.run} " in told
        assert not (tmp_path / "elsewhere").exists()
