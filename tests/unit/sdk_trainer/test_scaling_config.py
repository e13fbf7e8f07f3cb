"""`ScalingConfig`: bad values are refused where they are written, with what to write instead."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from paceline.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"num_workers": 0}, ValueError, r"num_workers is 0: .*debugger.*fit\(in_process=True\)"),
        ({"num_workers": -1}, ValueError, "num_workers is -1: pass a whole number, 1 or more"),
        ({"num_workers": True}, TypeError, "num_workers is True, a bool"),
        ({"num_workers": "2"}, TypeError, "num_workers is '2', a str: pass a whole number"),
        ({"num_workers": 2.0}, TypeError, "num_workers is 2.0, a float"),
        ({"use_gpu": 1}, TypeError, "use_gpu is 1, a int: pass True or False"),
        ({"resources_per_worker": {"GPU": 1}}, ValueError, "asks for GPU=1, but use_gpu is False: write use_gpu=True"),
        ({"use_gpu": True, "resources_per_worker": {"GPU": 0}}, ValueError, "has GPU=0: leave GPU out"),
        ({"use_gpu": True, "resources_per_worker": {"GPU": 0.5}}, ValueError, "is 0.5: pass a whole number"),
        ({"resources_per_worker": {"CPU": -1}}, ValueError, "'CPU'] is -1: pass a number, 0 or more"),
        ({"resources_per_worker": {"CPU": float("inf")}}, ValueError, "is inf"),
        ({"resources_per_worker": {"CPU": "4"}}, TypeError, "is '4', a str: pass a number"),
        ({"resources_per_worker": {"memory": 1.5}}, ValueError, "is 1.5: pass a whole number"),
        ({"resources_per_worker": {"cpu": 1}}, ValueError, "no cpu: write 'CPU'"),
        ({"resources_per_worker": {"nvidia.com/gpu": 1}}, ValueError, "write 'GPU'"),
        ({"resources_per_worker": {"accelerator": 1}}, ValueError, "it knows CPU, GPU, memory"),
        ({"resources_per_worker": 4}, TypeError, "is a int: pass a dict such as"),
        ({"placement_strategy": "PACKED"}, ValueError, "is 'PACKED': use one of PACK, SPREAD, STRICT_PACK, STRICT_SP"),
        ({"accelerator_type": "A100"}, ValueError, "use_gpu is False: write use_gpu=True too"),
        ({"accelerator_type": "", "use_gpu": True}, ValueError, "accelerator_type is empty"),
        ({"num_worker": 2}, TypeError, "has no num_worker: did you mean num_workers"),
        ({"trainer_resources": {"CPU": 1}}, TypeError, "has no trainer_resources: there is no process beside"),
        ({"num_gpus_per_worker": 2}, TypeError, "write use_gpu=True, resources_per_worker={'GPU': n}"),
        ({"colour": 2}, TypeError, "has no colour: it knows num_workers, use_gpu"),
    ],
)
def test_bad_values_are_refused_with_field_value_and_way_out(
    given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"ScalingConfig.*{said}"):
        ScalingConfig(**given)


def test_what_each_worker_gets() -> None:
    assert ScalingConfig().num_workers == 1
    assert (ScalingConfig().gpus_per_worker, ScalingConfig().cpus_per_worker) == (0, None)
    assert ScalingConfig(use_gpu=True).gpus_per_worker == 1
    given = ScalingConfig(2, True, {"CPU": 1.5, "GPU": 2.0, "memory": 2**30}, "SPREAD", "A100")
    assert (given.gpus_per_worker, given.cpus_per_worker, given.memory_bytes_per_worker) == (2, 1.5, 2**30)
    assert pickle.loads(pickle.dumps(given)) == given


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (RunConfig, {"stop": {}}, "RunConfig has no stop: .*leave it out"),
        (RunConfig, {"local_dir": "x"}, "RunConfig has no local_dir: write storage_path"),
        (RunConfig, {"storage": "x"}, "RunConfig has no storage: did you mean storage_path"),
        (CheckpointConfig, {"checkpoint_frequency": 1}, "the training function decides"),
        (CheckpointConfig, {"num_keep": 1}, "did you mean num_to_keep"),
        (FailureConfig, {"max_failure": 1}, "did you mean max_failures"),
    ],
)
def test_unknown_keywords_of_the_other_configs_name_the_right_one(kind: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        kind(**given)
