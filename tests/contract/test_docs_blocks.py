"""Every block of code in the documentation is run, or looked at, by a test: of each page it is told here by which.

Python runs, or is a part of an example that runs. Of the lines for a shell, what is ours is looked at: commands and
options of `paceline`, targets of make, files, options of the examples' scripts, extras. YAML: test_docs_manifests.py;
differences: test_docs_diffs.py.
"""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tomllib
import typer
from typer.exceptions import TyperException

from paceline.cli import checkpoints
from paceline.cli.main import app, flags_last
from tests.support import docs
from tests.support.docs import ROOT, SHELL, Block

# Each of these runs all Python of the page that is no part of an example.
RUNS = {
    "README.md": ["tests/frameworks/torch/test_torch_guides.py"],
    "docs/guides/checkpoints-and-storage.md": ["tests/frameworks/torch/test_torch_guides.py"],
    "docs/guides/datasets.md": [
        "tests/unit/sdk_data/test_data_guide.py",
        "tests/frameworks/tensorflow/test_data_tf.py",  # what needs TensorFlow
    ],
    "docs/guides/experiment-tracking.md": ["tests/unit/sdk_tracking/test_tracking_guide.py"],
    "docs/guides/fit-on-kubernetes.md": ["tests/integration/test_fit_kubernetes.py"],
    "docs/guides/lightning.md": ["tests/frameworks/torch/test_torch_guides.py"],
    "docs/guides/preemption.md": ["tests/integration/test_training_guide.py"],
    "docs/guides/pytorch.md": ["tests/frameworks/torch/test_torch_guides.py"],
    "docs/guides/results.md": ["tests/integration/test_result_guide.py"],
    "docs/guides/training-with-python.md": ["tests/integration/test_training_guide.py"],
    "docs/quickstart.md": ["tests/integration/test_result_guide.py"],
    "docs/reference/storage.md": ["tests/integration/test_result_guide.py"],
}
EXAMPLES = {
    "fit-on-kubernetes": "e2e/test_python_api.py",
    "keras-digits": "tests/frameworks/tensorflow/test_tensorflow_training.py",
    "lightning-digits": "tests/frameworks/torch/test_lightning_digits.py",
    "lightning-trackers": "tests/frameworks/torch/test_tracking_examples.py",
    "output-overview": "tests/integration/rows/test_rows_c.py",
    "parquet-datasets": "tests/frameworks/torch/test_data_torch.py",
    "plain-tensorflow-script": "e2e/test_tensorflow.py",
    "plain-torchrun-script": "e2e/test_storage.py",
    "torch-digits": "e2e/test_digits.py",
    "torch-mlflow-file": "tests/frameworks/torch/test_tracking_examples.py",
    "torch-mlflow-server": "e2e/test_tracking.py",
    "torch-trainer": "tests/frameworks/torch/test_torch_ranks.py",
    "torch-wandb": "tests/frameworks/torch/test_tracking_examples.py",
    "torchmetrics": "tests/frameworks/torch/test_torch_ranks.py",
}
# Looked at elsewhere, or nothing to look at: what a program prints, a sketch of files.
OTHERS = {"yaml", "diff", "text", ""}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CLI: Any = typer.main.get_command(app)


def test_every_page_with_python_of_its_own_has_a_test_that_runs_it() -> None:
    pages = [str(page.relative_to(ROOT)) for page in docs.PAGES]
    assert sorted(RUNS) == sorted(page for page in pages if docs.own_python(page))


@pytest.mark.parametrize(("page", "test"), [(page, test) for page, tests in RUNS.items() for test in tests])
def test_that_test_takes_the_blocks_from_the_page(page: str, test: str) -> None:
    text = (ROOT / test).read_text()
    assert re.search(rf'docs\.(own_)?python\("{page}"\)', text), f"{test} does not run {page}"


def test_every_example_has_a_test_that_runs_it() -> None:
    assert sorted(EXAMPLES) == sorted(folder.name for folder in docs.EXAMPLES.iterdir() if folder.is_dir())
    helpers = (ROOT / "e2e/jobs.py").read_text()  # where the tests on nodes load the first example from
    texts = {name: (ROOT / test).read_text() + helpers * test.startswith("e2e/") for name, test in EXAMPLES.items()}
    assert [name for name, text in texts.items() if name not in text] == []


def test_no_block_is_in_a_language_that_nothing_looks_at() -> None:
    languages = {block.language for page in docs.PAGES for block in docs.blocks(page)}
    assert languages <= {"python", *SHELL, *OTHERS}


@pytest.mark.parametrize("block", docs.everywhere(*SHELL), ids=lambda block: block.id)
def test_what_a_reader_types_is_there(block: Block) -> None:
    assert [told for command in docs.commands(block) for told in wrong(command, ROOT / block.page)] == []


@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_in_passing_are_there(page: Path) -> None:
    text = "".join(part for part in page.read_text().split("```")[::2])
    for command in re.findall(r"`paceline ([^`]*)`", text):
        known = {option for param in CLI.commands[command.split()[0]].params for option in param.opts}
        assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", command)) <= known | {"-h", "--help"}, command


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("paceline waits digits", "no command waits"),
        ("paceline wait digits --until done", "No such option: --until"),
        ("paceline wait", "Missing"),
        ("make runs", "no target runs"),
        ("kubectl apply -k examples/digits", "there is no examples/digits"),
        ("python examples/torch-digits/train.py --epoch 5", "has no --epoch"),
        ("python train.py --epochs 5", "there is no train.py"),
        ("python -m paceline.trackers", "no module paceline.trackers"),
        ("pip install '.[lighning]' scikit-learn", "no extra lighning"),
        ("TF_X=1 python train.py", "there is no train.py"),
        ("pip install x && make runs      # a comment", "no target runs"),
    ],
)
def test_a_mistake_would_be_seen(command: str, told: str) -> None:
    assert any(told in found for found in wrong(command, ROOT / "README.md")), wrong(command, ROOT / "README.md")


def wrong(line: str, page: Path) -> list[str]:
    """What of a line for a shell is not there."""
    words = shlex.split(line, comments=True)
    found: list[str] = []
    while words:
        end = words.index("&&") if "&&" in words else words.index("|") if "|" in words else len(words)
        settings = next((i for i, word in enumerate(words[:end]) if not re.match(r"[A-Z_]+=", word)), end)
        found += _wrong(words[settings:end], page)
        words = words[end + 1 :]
    return found


def _wrong(words: list[str], page: Path) -> list[str]:
    match words:
        case ["paceline", *arguments]:
            return _parsed(arguments)
        case ["make", target, *_]:
            return [] if target in TARGETS else [f"no target {target}"]
        case ["kubectl", *_]:
            given = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-k", "-f") and words[i + 1] != "-"]
            return [f"there is no {path}" for path in given if not (ROOT / path).exists()]
        case ["$EDITOR", path]:
            return [] if (ROOT / path).exists() else [f"there is no {path}"]
        case ["helm", "install" | "upgrade" | "template", _, chart, *_]:
            return [] if (ROOT / chart).is_dir() else [f"there is no {chart}"]
        case ["pip", "install", *packages]:
            asked = [name for package in packages for name in re.findall(r"\[(.*)\]", package)]
            return [f"no extra {name}" for names in asked for name in names.split(",") if name not in EXTRAS]
        case ["python", "-m", module, *_]:
            return [] if find_spec(module) else [f"no module {module}"]
        case ["python", script, *arguments]:
            return _script(script, arguments, page)
        case ["torchrun", "--nproc-per-node", _, script, *arguments]:
            return _script(script, arguments, page)
    return []


def _parsed(arguments: list[str]) -> list[str]:
    name, *rest = checkpoints.bare_verify(flags_last(arguments))
    if name not in CLI.commands:
        return [f"no command {name}"]
    try:
        CLI.commands[name].make_context(name, rest)
    except TyperException as error:
        return [str(getattr(error, "message", "")) or type(error).__name__]
    return []


def _script(name: str, arguments: list[str], page: Path) -> list[str]:
    """A page of an example is read in its folder; other pages at the root, or they show the script themselves."""
    if f"$ python {name}" in page.read_text() and any("def train_fn" in text for text in docs.python(_name(page))):
        return []
    script = next((folder / name for folder in (ROOT, page.parent) if (folder / name).is_file()), None)
    if script is None:
        return [f"there is no {name}"]
    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    return [f"{name} has no {option}" for option in sorted(options) if f'"{option}"' not in script.read_text()]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))
