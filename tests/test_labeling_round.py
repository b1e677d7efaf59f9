"""The commands of docs/labeling-round.md, as they stand, on small files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.test_commands import invoke

PAGE = Path(__file__).resolve().parent.parent / "docs" / "labeling-round.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_a_round_of_labeling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(block, names)
            continue
        for call in block.splitlines():
            result = invoke(*shlex.split(call)[1:])
            assert result.exit_code == 0, (call, result.stderr)
    days = ("sh", "sh", "sh", "sh")
    assert [language for language, _ in BLOCKS] == ["python", *days, "python", "sh", "sh"]

    clips, votes = names["clips"], pd.read_csv("votes/monday.csv")
    chosen, more = pd.read_csv("tuesday.csv"), pd.read_csv("wednesday.csv")
    video = clips.set_index("task")["video"]
    assert len(chosen) == 40
    assert video[chosen["id"]].value_counts().max() <= 2
    assert not set(chosen["id"]) & set(more["id"])
    asked = pd.read_csv("tasks.csv")
    assert asked.merge(votes, left_on=["id", "annotator"], right_on=["task", "annotator"]).empty
    counts = asked["annotator"].value_counts()
    assert counts.get("cy", 0) <= 10
    assert set(counts.index) <= {"ann", "bo", "cy", "dee"}
    assert {path.stem for path in Path("tasks").iterdir()} == set(counts.index)
    labels = pd.read_csv("labels.csv")
    assert set(labels["id"]) == set(votes["task"]) | set(asked["id"])
    assert (pd.read_csv("doubtful.csv")["consensus_quality_score"] < 0.5).all()
    page = Path("tuesday.html").read_text(encoding="utf-8")
    assert "at most 2 examples of each; " in page
    following = pd.read_csv("next.csv")
    assert len(following) == 40
    assert not set(following["id"]) & set(more["id"])
    assert set(following["id"]) & set(chosen["id"])
