"""The commands of docs/labeling-round.md, as they stand, on small files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.test_commands import invoke

PAGE = Path(__file__).resolve().parent.parent / "docs" / "labeling-round.md"
DAYS = re.findall(r"^```sh (\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
CLASSES = ["cat", "dog", "fox"]
PEOPLE = ["ann", "bo", "cy", "dee", "eve"]


def test_a_round_of_labeling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tasks = np.array([f"clip {number}" for number in range(200)])
    truth = rng.integers(0, 3, 200)
    probs = 0.1 * rng.dirichlet(np.ones(3), 200) + 0.9 * rng.dirichlet(np.ones(3), 200)
    probs[np.arange(200), truth] += 0.5
    clips = pd.DataFrame(probs / probs.sum(axis=1, keepdims=True), columns=CLASSES)
    clips.insert(0, "task", tasks)
    clips["video"] = np.arange(200) // 8
    clips.to_parquet(tmp_path / "clips.parquet", index=False)
    at, who = np.nonzero(rng.random((80, 5)) < 0.4)

    def answers(rows: np.ndarray, people: list[str]) -> pd.DataFrame:
        given = np.where(rng.random(len(rows)) < 0.8, truth[rows], rng.integers(0, 3, len(rows)))
        labels = np.array(CLASSES)[given]
        return pd.DataFrame({"task": tasks[rows], "annotator": people, "label": labels})

    (tmp_path / "votes").mkdir()
    votes = answers(at, [PEOPLE[one] for one in who])
    votes.to_csv(tmp_path / "votes" / "monday.csv", index=False)
    pd.DataFrame({"annotator": PEOPLE[:4], "capacity": [30, 30, 10, ""]}).to_csv(
        tmp_path / "people.csv", index=False
    )
    monkeypatch.chdir(tmp_path)
    for day, block in DAYS:
        if day == "friday":
            asked = pd.read_csv("tasks.csv")
            rows = asked["id"].str.removeprefix("clip ").astype(int).to_numpy()
            new = answers(rows, asked["annotator"].tolist())
            new.to_csv(tmp_path / "votes" / "tuesday.csv", index=False)
        for call in block.splitlines():
            result = invoke(*shlex.split(call)[1:])
            assert result.exit_code == 0, (call, result.stderr)
    assert [day for day, _ in DAYS] == ["monday", "tuesday", "tuesday", "wednesday", "friday"]

    chosen, more = pd.read_csv("tuesday.csv"), pd.read_csv("wednesday.csv")
    video = clips.set_index("task")["video"]
    assert len(chosen) == 40
    assert video[chosen["id"]].value_counts().max() <= 2
    assert not set(chosen["id"]) & set(more["id"])
    asked = pd.read_csv("tasks.csv")
    assert asked.merge(votes, left_on=["id", "annotator"], right_on=["task", "annotator"]).empty
    counts = asked["annotator"].value_counts()
    assert counts.get("cy", 0) <= 10
    assert set(counts.index) <= set(PEOPLE[:4])
    assert {path.stem for path in Path("tasks").iterdir()} == set(counts.index)
    labels = pd.read_csv("labels.csv")
    assert set(labels["id"]) == set(votes["task"]) | set(asked["id"])
    assert (pd.read_csv("doubtful.csv")["consensus_quality_score"] < 0.5).all()
