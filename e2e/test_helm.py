"""The chart's life on real nodes: upgrade, namespaced mode, uninstall; what users made stays."""

from __future__ import annotations

import pytest

from e2e import steps
from e2e.jobs import Workspace
from e2e.kube import wait_for
from e2e.stack import CHART, SYSTEM_NAMESPACE

pytestmark = [pytest.mark.cluster, pytest.mark.disturbs]
RUN_S = 300


def test_an_upgrade_rolls_the_operator_while_a_job_runs(space: Workspace) -> None:
    space.submit(steps.job(space, "steps", 80))
    space.wait_phase("steps", "Running", timeout_s=180)
    before = set(space.stack.operator_pods())
    space.stack.helm(
        "upgrade", "paceline", str(CHART), "--namespace", SYSTEM_NAMESPACE, "--reuse-values",
        "--set", "log.level=debug", "--wait", "--timeout", "180s",
    )  # fmt: skip
    after = set(space.stack.operator_pods())
    assert after
    assert not after & before
    assert space.status("steps")["phase"] == "Running", "the upgrade took longer than the job: nothing was proved"
    status = space.wait_phase("steps", "Succeeded", timeout_s=RUN_S)
    assert (status["restarts"], status["attempt"]) == (0, 0)


def test_uninstall_keeps_the_jobs_and_install_finds_them_again(space: Workspace) -> None:
    space.submit(steps.job(space, "steps", 1))
    done = space.wait_phase("steps", "Succeeded", timeout_s=RUN_S)
    space.stack.helm("uninstall", "paceline", "--namespace", SYSTEM_NAMESPACE, "--wait")
    try:
        wait_for("the operator to go", lambda: not space.stack.operator_pods(), timeout_s=60)
        assert space.status("steps") == done
    finally:
        space.stack.install()
    assert space.status("steps") == done
