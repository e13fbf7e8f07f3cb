from __future__ import annotations

import pytest

from paceline import _contract as c
from paceline.agent.failure import Failure
from paceline.agent.witness import lost_a_peer

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.244.1.7]:51266"
NCCL = "NCCL error: remote process exited or there was a network error, NCCL version 2.27.3"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        pytest.param(Failure("[Errno 104] told", type="ConnectionResetError"), True, id="python"),
        pytest.param(Failure(GLOO, type="RuntimeError"), True, id="gloo"),
        pytest.param(Failure("ended by SIGABRT", signal="SIGABRT", last_lines=("x", NCCL)), True, id="nccl's watchdog"),
        pytest.param(Failure("boom", type="ValueError", last_lines=("loading", "boom")), False, id="its own"),
        pytest.param(Failure("ended by SIGKILL", signal="SIGKILL"), False, id="killed"),
        pytest.param(Failure(GLOO, reason=c.REASON_STORAGE), False, id="the store's"),
        pytest.param(Failure(GLOO, reason=c.REASON_OOM), False, id="out of memory"),
    ],
)
def test_only_words_about_a_connection_make_a_failure_doubtful(failure: Failure, expected: bool) -> None:
    assert lost_a_peer(failure) is expected
