"""What must hold after a crash. An independent reader: it knows the layout of a run directory and none of our code.

It reads the files as they lie (an S3 server keeps objects as files), and knows from the journals of the training
processes what was reported, and from `crash_script` which bytes belong to it.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c

from tests.support.crash_points import Form, Shot, committed, read_lines
from tests.support.crash_script import KEEP, expected
from tests.support.crash_script import directory as named

RANKS = 2
COMMIT = ".paceline.json"


@dataclass(slots=True)
class Seen:
    """What a case has shown so far."""

    case: Path
    run: Path
    form: Form = ""
    ever: dict[str, float] = field(default_factory=dict)  # every checkpoint that was ever committed -> its score
    reports: dict[str, tuple[int, int]] = field(default_factory=dict)  # the same -> (attempt, report)
    lines: list[dict[str, Any]] = field(default_factory=list)  # of result.json, when last looked at
    problems: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Something does not hold."""
        self.problems.append(text)


def look(seen: Seen, when: str) -> None:
    """Whatever is committed is whole, and nothing that was committed and is to be kept is gone."""
    now = {}
    for name in committed(seen.run):
        wrong, commit = damage(seen.run / name, seen.form)
        seen.problems += [f"{when}: {name} is committed but {text}" for text in wrong]
        if commit is not None:
            now[name] = commit
            seen.ever[name] = float(commit["metrics"]["score"])
            seen.reports[name] = commit["metrics"]["a"], commit["metrics"]["i"]
    for path in sorted(seen.case.glob("journal-*-commits-*")):
        for line in read_lines(path):
            seen.ever[line["name"]] = float(line["score"])
            seen.reports[line["name"]] = line["a"], line["i"]
    for path in sorted(seen.case.glob("fired-[0-9]")):
        for name in json.loads(path.read_text())["committed"]:
            if name not in seen.ever:
                seen.say(f"{when}: {name} was committed at the crash and is gone")
    for name in sorted(kept(seen.ever) - now.keys()):
        seen.say(f"{when}: {name} was committed and is to be kept, but is gone")


def damage(directory: Path, form: Form = "") -> tuple[list[str], Mapping[str, Any] | None]:
    """What is wrong with a directory that has a commit, and the commit."""
    try:
        commit = json.loads((directory / COMMIT).read_bytes())
        metrics, files = commit["metrics"], commit["files"]
        whole = expected(metrics["a"], metrics["i"], RANKS)
    except (ValueError, KeyError, TypeError) as e:
        return [f"its commit cannot be read: {e!r}"], None
    wrong = []
    own_name = named(form, metrics["i"])
    if (own_name or f"checkpoint_{commit['index']:06d}") != directory.name or sorted(commit["ranks"]) != list(
        range(RANKS)
    ):
        wrong.append(f"its commit tells index {commit['index']}, ranks {commit['ranks']}")
    if commit.get("directory", "") != own_name:
        wrong.append(f"its commit tells the directory {commit.get('directory')}")
    if commit["attempt"] != metrics["a"] or commit["step"] != metrics["step"] or commit["world_size"] != RANKS:
        wrong.append(f"its commit mixes reports: {commit}")
    there = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*") if p.is_file()}
    there.pop(COMMIT)
    if there.keys() != files.keys() or files.keys() != whole.keys():
        wrong.append(f"has {sorted(there)}, lists {sorted(files)}, should have {sorted(whole)}")
    for name, path in there.items():
        data, about = path.read_bytes(), files.get(name, {})
        if len(data) != about.get("size") or _sum(data, about) is False:
            wrong.append(f"{name} has {len(data)} bytes, not what the commit says: {about}")
        if data != whole.get(name):
            wrong.append(f"{name} is not what the ranks reported")
    return wrong, commit


def _sum(data: bytes, about: Mapping[str, Any]) -> bool:
    if "crc32c" in about:
        return bool(f"{google_crc32c.value(data):08x}" == about["crc32c"])
    return bool(f"{zlib.crc32(data):08x}" == about.get("crc32"))


def kept(ever: Mapping[str, float]) -> set[str]:
    """Names that retention may never take: the best `KEEP` of all that were ever committed, and the latest."""
    ranked = sorted(ever, key=lambda name: (ever[name], name), reverse=True)
    return {*ranked[:KEEP], *([max(ever)] if ever else [])}


def resumable(run: Path) -> str | None:
    """The checkpoint from which the next attempt must go on: the latest committed or decided one."""
    names = set(committed(run))
    for path in (run / ".paceline/decisions").glob("*.json"):
        decision = json.loads(path.read_text())
        if "abandoned" not in decision:
            names.add(decision.get("directory") or path.stem)
    return max(names, default=None)


def attempt_resumed(seen: Seen, attempt: int, wanted: str | None) -> None:
    """`get_checkpoint()` gave every rank the right one, whole."""
    for rank in range(RANKS):
        lines = read_lines(seen.case / f"journal-{attempt}-rank{rank}")
        found = next((line for line in lines if line["t"] == "resumed"), None)
        if not lines:
            continue  # killed before it came so far
        name = checkpoint_name(found["path"]) if found else None
        if name != wanted:
            seen.say(f"attempt {attempt}: rank {rank} resumed from {name}, not from {wanted}")
        if found and (found["wrong"] or found["extra"]):
            seen.say(f"attempt {attempt}: get_checkpoint() gave rank {rank} a damaged checkpoint: {found}")


def message(seen: Seen, path: Path, who: str) -> None:
    """What a termination message names is committed."""
    if not path.exists() or not path.read_bytes():
        return
    told = json.loads(path.read_bytes())
    for key in ("checkpoint", "bestCheckpoint", "resumedFrom"):
        uri = (told.get(key) or {}).get("path", "")
        name = checkpoint_name(uri)
        if key == "resumedFrom":
            if name and name not in seen.ever:
                seen.say(f"{who} tells {key} {name}, which was never committed")
        elif name and not (seen.run / name / COMMIT).exists():
            seen.say(f"{who} tells {key} {name}, which is not committed")


def result(seen: Seen, when: str) -> None:
    """`Result.from_path` tells the committed checkpoints, and gives their files whole."""
    from paceline.train import Result

    there = committed(seen.run)
    if not there:
        return
    found = Result.from_path(str(seen.run)).best_checkpoints
    names = sorted(checkpoint_name(checkpoint.path) for checkpoint, _ in found)
    if names != there:
        seen.say(f"{when}: Result has the checkpoints {names}, not {there}")
    for checkpoint, metrics in found:
        with checkpoint.as_directory() as directory:
            files = {
                p.relative_to(directory).as_posix(): p.read_bytes() for p in Path(directory).rglob("*") if p.is_file()
            }
        files.pop(COMMIT, None)
        if files != expected(metrics["a"], metrics["i"], RANKS):
            seen.say(f"{when}: Result gives other files of {checkpoint.path} than were reported: {sorted(files)}")


def checkpoint_name(path: str) -> str:
    """The last part of a path or URI, whose query may have slashes."""
    return path.partition("?")[0].rstrip("/").rpartition("/")[2]


def reported(seen: Seen, attempt: int) -> None:
    """Every report that returned on all ranks is committed, and rank 0's stand in result.json."""
    returned = [
        {line["i"] for line in read_lines(seen.case / f"journal-{attempt}-rank{rank}") if _is_done(line, files=True)}
        for rank in range(RANKS)
    ]
    stored = {i for a, i in seen.reports.values() if a == attempt}
    for i in sorted(set.intersection(*returned) - stored):
        seen.say(f"report {i} of attempt {attempt} had returned on every rank, but was never committed")


def waited(seen: Seen, attempt: int) -> None:
    """A report(wait=True) that returned on any rank is committed, whoever died then."""
    stored = {i for a, i in seen.reports.values() if a == attempt}
    for rank in range(RANKS):
        for line in read_lines(seen.case / f"journal-{attempt}-rank{rank}"):
            if _is_done(line, files=True) and line["waited"] and line["i"] not in stored:
                seen.say(f"rank {rank} had waited for report {line['i']} of attempt {attempt}, which is not committed")


def results(seen: Seen, complete: Iterable[int]) -> None:
    """result.json can be read, has lost no line that it had, and has each report of the `complete` attempts."""
    path = seen.run / "result.json"
    text = path.read_text() if path.exists() else ""
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError as e:
        seen.say(f"result.json has a line that is not JSON: {e}")
        return
    told = [(line.get("a"), line.get("i")) for line in lines]
    if len(set(told)) < len(told):
        seen.say(f"result.json repeats lines: {told}")
    for line in seen.lines:
        if (line["a"], line["i"]) not in told:
            seen.say(f"result.json has lost the line of report {line['i']} of attempt {line['attempt']}")
    for attempt in complete:
        for line in read_lines(seen.case / f"journal-{attempt}-rank0"):
            if _is_done(line) and (attempt, line["i"]) not in told:
                seen.say(f"report {line['i']} of attempt {attempt} had returned, but is not in result.json")
    seen.lines = lines
    progress = seen.run / "progress.csv"
    if progress.exists():
        with progress.open(newline="") as f:
            rows = list(csv.reader(f))
        if any(len(row) != len(rows[0]) for row in rows):
            seen.say("progress.csv has a row of another width")


def settled(seen: Seen) -> None:
    """After the last attempt: what is kept and nothing else."""
    there = set(committed(seen.run))
    if there != kept(seen.ever):
        seen.say(f"kept are {sorted(there)}, not {sorted(kept(seen.ever))}")
    for directory in sorted([*seen.run.glob("checkpoint_*"), *seen.run.glob("step=*")]):
        # An S3 server may keep a folder without objects, which nobody sees.
        if directory.name not in there and any(path.is_file() for path in directory.rglob("*")):
            seen.say(f"{directory.name} was never committed, but its files were not deleted")


def unchanged(seen: Seen, before: Mapping[str, bytes], when: str) -> None:
    """Nothing was committed, deleted or changed below the checkpoints."""
    after = snapshot(seen.run)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        seen.say(f"{when}: changed {', '.join(changed)}")


def snapshot(run: Path) -> dict[str, bytes]:
    """Every file of every committed checkpoint."""
    paths = [p for name in committed(run) for p in (run / name).rglob("*") if p.is_file()]
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in paths}


def promises_all_reports(shot: Shot) -> bool:
    """Whether the victim's death may lose no report: everybody's but an agent's, whose staging dies with its pod."""
    return shot.victim not in ("lead", "agent1") or shot.action == "drop"


def _is_done(line: Mapping[str, Any], *, files: bool = False) -> bool:
    return line["t"] == "returned" and (line["files"] or not files)
