"""What is told of how a batch was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal.method.choice import ATTRIBUTE, Choice

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
VIDEOS = np.array(["a", "a", "a", "b", "", ""])


def test_nothing_is_told_of_the_lowest_scores() -> None:
    batch = daskal.next_batch(SCORES, size=3)
    assert batch.attrs == {}
    assert Choice.of_batch(batch) == Choice()
    assert Choice().lines() == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"groups": VIDEOS, "max_per_group": np.int64(2)},
            (
                "Groups",
                "at most 2 examples of each; 2 groups, the largest with 2; 2 examples are in none",
            ),
        ),
        (
            {"groups": ["a", "b", "a", "", "a", "a"], "max_per_group": 1},
            (
                "Groups",
                "at most 1 example of each; 2 groups, the largest with 1; 1 example is in none",
            ),
        ),
        (
            {"groups": [None] * 6, "max_per_group": 1},
            ("Groups", "at most 1 example of each; 0 groups; 6 examples are in none"),
        ),
        (
            {"size": 2, "embeddings": SCORES[:, None], "diversity": "k_center", "random_state": 7},
            (
                "Unlike examples",
                "by greedy k-center, among 6 examples of the lowest scores; seed 7",
            ),
        ),
        (
            {
                "size": 2,
                "embeddings": SCORES[:, None],
                "diversity": "cluster_margin",
                "candidates": 4,
                "num_clusters": 3,
            },
            (
                "Unlike examples",
                "by Cluster-Margin, 3 clusters, among 4 examples of the lowest scores; seed 0",
            ),
        ),
        (
            {
                "quality": SCORES,
                "stop_at_quality": np.float32(0.5),
                "num_annotations": [1, 1, 5, 1, 1, 1],
                "max_annotations": 5,
            },
            ("Left out", "labels of a quality of 0.5 or more; examples with 5 votes or more"),
        ),
        (
            {"exclude": pd.DataFrame({"source": "labeled", "row": [2]})},
            ("Left out", "1 example that was excluded"),
        ),
        (
            {"exclude": ["u", "v"], "labeled_ids": list("uvwxyz")},
            ("Left out", "2 examples that were excluded"),
        ),
        ({"max_relabel_fraction": 0.25}, ("Labeled again", "at most 25% of the batch")),
    ],
)
def test_limits_are_told(options: dict[str, Any], line: tuple[str, str], tmp_path: Path) -> None:
    batch = daskal.next_batch(SCORES, **{"size": 6, **options})
    choice = Choice.of_batch(batch)
    assert choice.lines() == [line]
    assert json.loads(json.dumps(batch.attrs)) == batch.attrs
    for ending, known in ((".parquet", choice), (".csv", Choice()), (".json", Choice())):
        file = tmp_path / f"batch{ending}"
        daskal.export_batch(batch, file)
        assert Choice.of_batch(daskal.read_batch(file)) == known


def test_a_batch_has_no_more_columns_than_before() -> None:
    batch = daskal.next_batch(SCORES, size=6, groups=VIDEOS, max_per_group=1)
    assert list(batch) == ["rank", "source", "row", "score"]


def test_what_a_file_says_is_taken_for_what_it_is() -> None:
    batch = pd.DataFrame({"row": [1]})
    batch.attrs[ATTRIBUTE] = {
        "max_per_group": "<b>",
        "diversity": "guessing",
        "num_groups": True,
        "stop_at_quality": 1,
        "more": 3,
    }
    assert Choice.of_batch(batch) == Choice(stop_at_quality=1)
    batch.attrs[ATTRIBUTE] = "nothing"
    assert Choice.of_batch(batch) == Choice()
