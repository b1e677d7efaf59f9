"""The README does what it says: its Python runs, its commands parse, its links lead somewhere.

The other pages name files and functions that exist.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal import errors
from daskal.cli.commands import main
from daskal.report.glossary import GLOSSARY

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)


def test_python_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """All Python blocks, in one process and an empty folder; output follows its block."""
    code = "".join(text for kind, text in BLOCKS if kind == "python")
    shown = [
        text
        for (before, _), (kind, text) in pairwise(BLOCKS)
        if (before, kind) == ("python", "text")
    ]
    assert len(shown) == 1
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(shown)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "scores.zarr"]


def commands() -> list[str]:
    """Return every call of daskal in a shell block or in running text."""
    text = README.replace("\n", " ")
    inline = [call.replace("  ", " ") for call in re.findall(r"`(daskal [^`]+)`", text)]
    lines = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    return [call for call in inline if "COMMAND" not in call] + [
        line[line.index("daskal ") :] for line in lines if "daskal " in line
    ]


TWO_FILES = [text for kind, text in BLOCKS if kind == "sh" and "--votes votes.csv" in text]


def test_two_files_make_a_batch_labels_and_a_report(tmp_path: Path) -> None:
    """The block that begins with two files, in an empty folder that has them."""
    (two_files,) = TWO_FILES
    random = np.random.default_rng(0)
    tasks = [f"task {number}" for number in range(300)]
    probs = pd.DataFrame(random.dirichlet(np.ones(3), 300), columns=["cat", "dog", "fox"])
    probs.insert(0, "task", tasks)
    probs.to_parquet(tmp_path / "probs.parquet", index=False)
    rows, annotators = np.nonzero(random.random((90, 6)) < 0.5)
    labels = random.choice(["cat", "dog", "fox"], len(rows))
    votes = pd.DataFrame({"task": rows, "annotator": annotators, "label": labels})
    votes["task"] = [tasks[row] for row in rows]
    votes.to_csv(tmp_path / "votes.csv", index=False)
    for call in two_files.splitlines():
        done = subprocess.run(
            [sys.executable, "-m", "daskal.cli", *shlex.split(call)[1:]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    batch = pd.read_csv(tmp_path / "next.csv")
    found = pd.read_csv(tmp_path / "labels.csv")
    assert set(batch["id"]) == set(tasks)
    assert set(found["id"]) == set(votes["task"])
    assert set(found["consensus_label"]) <= {"cat", "dog", "fox"}
    assert "daskal report</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("call", sorted(set(commands())))
def test_commands_are_understood(call: str) -> None:
    name, *arguments = shlex.split(call)[1:]
    command = main.commands[name]
    # A command named in passing has no arguments; its options must still be there.
    # With its parent, as click remembers the names of the help option from the first context.
    with main.make_context("daskal", [name], resilient_parsing=True) as parent:
        command.make_context(name, arguments, parent=parent, resilient_parsing=True)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(targets) >= 8
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_named_files_exist() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    named = {
        path
        for page in pages
        for path in re.findall(r"(?:daskal|tests|examples|ci)/[\w/]+\.\w+", page.read_text("utf-8"))
    }
    assert len(named) >= 8
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_tests_left_out_on_the_lowest_versions_exist() -> None:
    script = (ROOT / "ci" / "run").read_text(encoding="utf-8")
    left_out = re.search(r"LEFT_OUT=\(([^)]+)\)", script)
    assert left_out is not None
    missing = [name for name in left_out[1].split() if not any(ROOT.glob(f"tests/{name}*"))]
    assert missing == []


def test_the_glossary_says_what_the_report_says() -> None:
    page = " ".join((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split())
    assert [word for word, meaning in GLOSSARY.items() if f"{word} : {meaning}" not in page] == []


def test_the_api_page_lists_every_public_name() -> None:
    """Each under its module, so that it has a page of its own."""
    listed: dict[str, set[str]] = {}
    module = ""
    for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.removeprefix(".. currentmodule:: ")
        elif re.fullmatch(r"   \w+", line):
            listed.setdefault(module, set()).add(line.strip())
    kinds = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
    of_errors = {name for name in kinds if getattr(errors, name).__module__ == "daskal.errors"}
    # A module's names stand under it.
    modules = {"multiannotator", "__version__"}
    assert listed == {
        "daskal": set(daskal.__all__) - modules,
        "daskal.multiannotator": set(daskal.multiannotator.__all__),
        "daskal.errors": of_errors - set(daskal.__all__),
    }


def test_each_extra_is_checked_or_a_tool() -> None:
    """CI installs each extra by itself and uses it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    script = (ROOT / "ci" / "run").read_text(encoding="utf-8")
    for extra in project["project"]["optional-dependencies"]:
        assert f'".[{extra}]"' in script, extra


def test_each_example_is_run_by_ci() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    script = (ROOT / "ci" / "extras.py").read_text(encoding="utf-8")
    assert {name for name in names if f'"{name}"' not in script} == set()
