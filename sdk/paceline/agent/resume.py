"""Which checkpoint does this attempt start from?"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from paceline import _contract as c
from paceline.agent.commits import Commit, read_commit
from paceline.agent.errors import InvalidConfigError
from paceline.agent.stores import Stores


def own(commits: Sequence[Commit], resume_from: str, run_id: str) -> list[Commit]:
    """Of the commits in the run directory, those that this run continues.

    With `resumeFrom: ""` all of them: a job made anew under the same name goes on. With `none` or a URI only those
    that this run's own attempts made.
    """
    return [commit for commit in commits if not resume_from or commit.run_id == run_id]


def given(resume_from: str, stores: Stores) -> Commit:
    """The checkpoint that a URI names; blocks on its store.

    Raises:
        InvalidConfigError: There is no complete checkpoint.
        StorageError: The store failed.
    """
    storage, path = stores.resolve(resume_from)
    commit = read_commit(storage, path)
    if commit is not None:
        return commit
    # A directory that Paceline did not write has no commit, and is taken as it is.
    if posixpath.basename(path).startswith(c.CHECKPOINT_PREFIX) or next(iter(storage.files(path)), None) is None:
        raise InvalidConfigError(
            f"checkpoints.resumeFrom names {resume_from}, where no committed checkpoint lies ({c.COMMIT_FILE} is"
            " missing): correct it, or leave it empty to resume from this run's latest"
        )
    return Commit(-1, 0, None, "", {}, 1, {}, (), path=storage.uri(path))
