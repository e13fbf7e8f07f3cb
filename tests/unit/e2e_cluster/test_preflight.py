from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import preflight
from e2e.cluster.preflight import NODE_PACKAGES, missing_packages, refusal


def test_a_fit_machine_is_not_refused() -> None:
    assert refusal("linux", 0, has_go=True, needs_build=True) is None


def test_go_is_needed_only_while_something_must_be_built() -> None:
    assert refusal("linux", 0, has_go=False, needs_build=False) is None


@pytest.mark.parametrize(
    ("platform", "uid", "has_go", "reason"),
    [
        pytest.param("darwin", 0, True, "needs Linux", id="another system"),
        pytest.param("linux", 1000, True, "needs root", id="not root"),
        pytest.param("linux", 0, False, "found no Go", id="no Go"),
    ],
)
def test_a_refusal_says_why_and_what_to_do_instead(platform: str, uid: int, has_go: bool, reason: str) -> None:
    sentence = refusal(platform, uid, has_go=has_go, needs_build=True)
    assert sentence is not None
    assert reason in sentence
    assert "Set KUBECONFIG to any cluster" in sentence


def test_only_packages_of_missing_programs_are_installed() -> None:
    assert missing_packages(NODE_PACKAGES, ["iptables", "mount", "conntrack"]) == ["runc"]


def test_the_limit_of_watches_is_raised_and_never_lowered(tmp_path: Path) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    preflight.allow_watches(limit)
    assert int(limit.read_text()) == preflight.INOTIFY_WANTED
    limit.write_text("8192\n")
    preflight.allow_watches(limit)
    assert limit.read_text() == "8192\n"
