"""`paceline checkpoints` as a user calls it, on directories and on a real S3 server."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from e2e.cluster.s3 import S3Server
from paceline.cli import checkpoint_fetch, main
from tests.support.agents import wait_for
from tests.support.cli_objects import CHECKPOINT, job_body
from tests.support.kube_api import KubeApi, serving
from tests.support.runs import Run


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Paceline = Callable[..., Ran]


@pytest.fixture
def paceline(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Paceline:
    def run(*args: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/paceline", "checkpoints", *args])
        with pytest.raises(SystemExit) as ended:
            main.run()
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        assert b"Traceback" not in err
        return Ran(ended.value.code, out.decode(), err.decode())

    return run


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "local":
        return str(tmp_path / "runs/digits")
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.environment.items():
        if "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    return f"{server.make_bucket('cli')}/{abs(hash(request.node.name))}/digits?endpoint_override={server.endpoint}"


@pytest.fixture
def run(uri: str) -> Run:
    made = Run(uri).reports({"loss": 1.0})
    made.checkpoint(0, {"m": b"0" * 2000, "sub/n": b"x"}, loss=3.0)
    made.checkpoint(1, {"m": b"1" * 2000}, loss=1.0)
    return made.checkpoint(2, {"m": b"2" * 2000}, loss=2.0).checkpoint(3, committed=False)


def test_a_run_is_listed(run: Run, paceline: Paceline) -> None:
    ran = paceline(run.uri, "--score", "loss", "--order", "min")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["0", "checkpoint_000000", "0"],
        ["1", "checkpoint_000001", "10"],
        ["2", "checkpoint_000002", "20"],
    ]
    assert [line.rstrip().rpartition("  ")[2] for line in lines[2:]] == ["best", "latest"]
    assert "not committed, so no checkpoints: checkpoint_000003" in ran.err


def test_the_list_is_there_for_programs(run: Run, paceline: Paceline) -> None:
    told = json.loads(paceline(run.uri, "-o", "json").out)
    assert told["uncommitted"] == ["checkpoint_000003"]
    first, *_, last = told["checkpoints"]
    assert (first["index"], first["sizeBytes"], sorted(first["files"]), first["latest"]) == (
        0,
        2001,
        ["m", "sub/n"],
        False,
    )
    assert (last["latest"], last["metrics"], last["step"]) == (True, {"loss": 2.0}, 20)
    one = json.loads(paceline(run.uri, "-o", "json", "--checkpoint", "1").out)
    assert [found["index"] for found in one["checkpoints"]] == [1]
    assert paceline(last["path"], "-o", "json").out.count('"index": 2') == 1  # a checkpoint names itself


def test_whole_checkpoints_are_told_so(run: Run, paceline: Paceline) -> None:
    ran = paceline(run.uri, "--verify")
    assert (ran.code, ran.out.count(" ok ")) == (0, 3)
    assert "3 checkpoints are whole (names and sizes)" in ran.err
    assert "(sizes and checksums)" in paceline(run.uri, "--verify=full").err


def test_damage_is_found_by_size_by_name_and_by_content(run: Run, paceline: Paceline) -> None:
    run.put("checkpoint_000000/m", b"short")
    run.storage.delete(f"{run.path}/checkpoint_000000/sub/n")
    run.put("checkpoint_000001/m", b"7" * 2000)
    sizes = paceline(run.uri, "--verify=sizes")
    assert sizes.code == 1
    assert "checkpoint_000000: m has 5 bytes instead of 2000" in sizes.err
    assert "checkpoint_000000: sub/n is missing" in sizes.err
    assert "1 of 3 checkpoints are damaged; the newest whole one is checkpoint_000002" in sizes.err
    full = paceline(run.uri, "--verify=full", "-o", "json")
    assert full.code == 1
    assert "2 of 3 checkpoints are damaged" in full.err
    damage = [found["damage"] for found in json.loads(full.out)["checkpoints"]]
    assert damage[1] == ["m has the right size and another content: its checksum differs from the commit's"]
    assert damage[2] == []


@pytest.mark.parametrize("content", ["{", "[]", '{"step": 1}'])
def test_a_damaged_commit_does_not_hide_the_others(run: Run, paceline: Paceline, tmp_path: Path, content: str) -> None:
    run.put("checkpoint_000001/.paceline.json", content)
    ran = paceline(run.uri)
    assert ran.code == 1
    assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [
        ["0", "checkpoint_000000"],
        ["2", "checkpoint_000002"],
        ["checkpoint_000001", "damaged"],
    ]
    assert "checkpoint_000001/.paceline.json" in ran.err.replace(f"?{run.uri.partition('?')[2]}", "")
    assert "is not a commit" in ran.err
    assert "1 of 3 checkpoints are damaged" in ran.err
    assert "no checkpoints: checkpoint_000003 (" in ran.err
    assert "the newest whole one is checkpoint_000002" in paceline(run.uri, "--verify").err
    told = json.loads(paceline(run.uri, "-o", "json").out)
    assert [found["index"] for found in told["checkpoints"]] == [0, 2]
    assert [found["name"] for found in told["damaged"]] == ["checkpoint_000001"]
    assert paceline(run.uri, "--checkpoint", "0").code == 0
    for which in ("1", "checkpoint_000001"):
        refused = paceline(run.uri, "--download", str(tmp_path / "d"), "--checkpoint", which)
        assert refused.code == 1
        assert "is not a commit" in refused.err
    assert not (tmp_path / "d").exists()
    assert "checkpoint_000002" in paceline(run.uri, "--download", str(tmp_path / "d")).out


def test_metadata_that_was_changed_later_is_no_damage(run: Run, paceline: Paceline, tmp_path: Path) -> None:
    run.checkpoint(4, {"m": b"4", ".metadata.json": b"{}"}).put("checkpoint_000004/.metadata.json", '{"a": 1}')
    assert paceline(run.uri, "--verify=full").code == 0
    assert paceline(run.uri, "--download", str(tmp_path / "d")).code == 0
    assert (tmp_path / "d/.metadata.json").read_text() == '{"a": 1}'


def test_a_checkpoint_is_downloaded(run: Run, paceline: Paceline, tmp_path: Path) -> None:
    target = tmp_path / "here/it/is"
    ran = paceline(run.uri, "--download", str(target), "--checkpoint", "0")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"checkpoint_000000 (step 0) is in {target}: 2 files fetched, 2.0 kB, checked\n"
    assert (target / "sub/n").read_bytes() == b"x"
    assert sorted(path.name for path in target.iterdir()) == ["m", "sub"]
    best = paceline(run.uri, "--download", str(tmp_path / "b"), "--checkpoint", "best", "--score=loss", "--order=min")
    assert "checkpoint_000001" in best.out
    assert "checkpoint_000002" in paceline(run.uri, "--download", str(tmp_path / "l")).out


def test_a_download_goes_on_and_mends_what_is_wrong(run: Run, paceline: Paceline, tmp_path: Path) -> None:
    target = tmp_path / "d"
    paceline(run.uri, "--download", str(target), "--checkpoint", "0")
    (target / "m").write_bytes(b"9" * 2000)
    ran = paceline(run.uri, "--download", str(target), "--checkpoint", "0")
    assert "1 files fetched, 1 were there already" in ran.out
    assert (target / "m").read_bytes() == b"0" * 2000
    (target / "mine.txt").touch()
    refused = paceline(run.uri, "--download", str(target), "--checkpoint", "0")
    assert refused.code == 2
    assert "holds files that are not of checkpoint_000000: mine.txt" in refused.err
    assert paceline(run.uri, "--download", str(target / "m")).code == 2


def test_a_damaged_download_fails_and_names_the_file(run: Run, paceline: Paceline, tmp_path: Path) -> None:
    run.put("checkpoint_000002/m", b"7" * 2000)
    ran = paceline(run.uri, "--download", str(tmp_path / "d"))
    assert ran.code == 5
    assert "checkpoint_000002/m" in ran.err
    assert not (tmp_path / "d/m").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["/nonexistent/x"], 3, "there is no directory /nonexistent/x"),
        (["s3://b?x=1"], 2, "unknown key 'x'"),
        (["{uri}", "--checkpoint", "9"], 3, "no checkpoint '9'; committed are: 0, 1, 2"),
        (["{uri}", "--checkpoint", "best"], 2, "best by which metric? Give --score METRIC"),
        (["{uri}", "--order", "min"], 2, "give --score METRIC too"),
        (["{uri}", "--verify", "--download", "d"], 2, "leave out --verify and -o"),
        (["{uri}", "--verify=some"], 2, "'some' is not one of"),
    ],
)
def test_wrong_usage_is_told(run: Run, paceline: Paceline, args: list[str], code: int, said: str) -> None:
    ran = paceline(*(arg.format(uri=run.uri) for arg in args))
    assert ran.code == code
    assert said in " ".join(ran.err.split())


def test_an_empty_run_says_so_beside_the_output(tmp_path: Path, paceline: Paceline) -> None:
    Run(str(tmp_path / "r")).reports({"a": 1})
    ran = paceline(str(tmp_path / "r"))
    assert (ran.code, ran.out) == (0, "")
    assert f"no committed checkpoints in {tmp_path}/r" in ran.err
    wrong = paceline(str(tmp_path))
    assert wrong.code == 3
    assert "no run lies at" in wrong.err
    assert "below are: r" in wrong.err


def test_a_job_leads_to_its_run_and_wrong_keys_are_told_as_the_users_own(
    s3_server: S3Server, paceline: Paceline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        if "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    base = f"{s3_server.make_bucket('cli')}/of-a-job?endpoint_override={s3_server.endpoint}"
    Run(base.replace("?", "/digits?")).reports({"a": 1}).checkpoint(0, loss=1.0).checkpoint(1, loss=2.0)
    body = job_body()
    body["spec"]["storage"] = {"path": base}
    body["spec"]["checkpoints"] = {"scoreAttribute": "loss", "scoreOrder": "min"}
    with serving(KubeApi()) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.put(body)
        ran = paceline("digits")
        assert ran.code == 0
        assert [line.split()[-1] for line in ran.out.splitlines()[1:]] == ["best", "latest"]
        assert paceline("nothing").code == 3
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        refused = paceline("digits")
    assert refused.code == 5
    assert "with your own credentials, not with the job's" in refused.err
    assert "kubectl port-forward" in refused.err
    assert "wrong" not in refused.err.replace("wrong key", "")


def test_a_directory_that_only_has_the_name_of_the_pods_is_not_taken_for_it(
    paceline: Paceline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/digits").mkdir(parents=True)
    body = job_body(checkpoint=CHECKPOINT)
    volume = {"claimName": "shared", "mountPath": str(tmp_path)}
    body["spec"]["storage"] = {"path": f"{tmp_path}/runs", "volume": volume}
    with serving(KubeApi()) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.put(body)
        ran = paceline("digits")
    assert ran.code == 3
    assert "PersistentVolumeClaim 'shared'" in ran.err
    assert "latest 7 (step 168)" in ran.err


def test_a_directory_of_the_users_own_that_only_looks_like_a_run_is_not_taken_for_it(
    s3_server: S3Server, paceline: Paceline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        if "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    own = f"{s3_server.make_bucket('cli')}/own/digits/checkpoint_000007?endpoint_override={s3_server.endpoint}"
    Run(own).put("model", b"weights")
    body = job_body(checkpoint={**CHECKPOINT, "path": own})
    del body["spec"]["storage"]
    with serving(KubeApi()) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        api.put(body)
        ran = paceline("digits")
    assert ran.code == 3
    assert "does not tell where the operator's default storage is" in " ".join(ran.err.split())


def test_the_bar_shows_how_far_it_is() -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    with checkpoint_fetch.bar(terminal, "checkpoint_000001") as progress:
        progress.expect(1, 4_000_000)
        progress.moved(1_000_000)
        wait_for(lambda: "1.0/4.0 MB" in screen.getvalue())
    assert "checkpoint_000001" in screen.getvalue()
    quiet = io.StringIO()
    with checkpoint_fetch.bar(Console(file=quiet), "x") as progress:
        progress.expect(1, 1)
    assert quiet.getvalue() == ""
