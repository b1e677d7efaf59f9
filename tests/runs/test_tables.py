"""A batch comes back from its store as it was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal.runs.result import read_contents
from tests.problems import make_problem

BIG = 2**60
NAMES = np.array([f"img/{row}" for row in range(40)], dtype=object)


@pytest.mark.parametrize(
    ("labeled_ids", "unlabeled_ids"),
    [
        (None, None),
        (None, NAMES),
        (None, np.arange(BIG, BIG + 40)),
        (np.arange(BIG, BIG + 80), np.arange(40)),
        (np.arange(80), NAMES),
        (NAMES.repeat(2), NAMES),
    ],
)
def test_ids_of_every_kind_come_back(tmp_path: Path, labeled_ids: Any, unlabeled_ids: Any) -> None:
    problem = make_problem(1)
    run = daskal.run(
        labels=problem.labels,
        pred_probs=problem.pred_probs,
        pred_probs_unlabeled=problem.pool,
        labeled_ids=labeled_ids,
        unlabeled_ids=unlabeled_ids,
        out=tmp_path / "s.zarr",
        batch_size=30,
    )
    assert set(run.batch["source"]) == {"labeled", "unlabeled"}
    pd.testing.assert_frame_equal(run.batch, run.next_batch(size=30))
    if unlabeled_ids is None:
        assert "id" not in run.batch
        return
    known = {"labeled": labeled_ids, "unlabeled": unlabeled_ids}
    for pool, row, found in run.batch[["source", "row", "id"]].itertuples(index=False):
        if known[pool] is None:
            assert pd.isna(found)
        else:
            assert found == known[pool][row]
            assert isinstance(found, str) == isinstance(known[pool][row], str)
    if labeled_ids is None:
        # Not the text of a None or NaN, which could be an id.
        stored = run.root["batch/id"][:].tolist()
        assert {str(stored[at]) for at in np.flatnonzero(run.batch["source"] == "labeled")} == {""}


@pytest.mark.parametrize(
    "names",
    [
        [1, "b", 2, "1", "x", "y"],
        [-1, 2**63, 5, 6, 7, 8],
        [1, 2, 3, 4, 5, 6],
        ["1", "2", "3", "4", "5", "6"],
    ],
)
def test_annotators_come_back_as_they_were_called(tmp_path: Path, names: list[Any]) -> None:
    problem = make_problem(1, num_annotators=len(names))
    columns = pd.Index(names, dtype=object)
    labels = pd.DataFrame(problem.labels, columns=columns)
    run = daskal.run(labels=labels, pred_probs=problem.pred_probs, out=tmp_path / "s.zarr")
    expected = daskal.annotator_stats(labels, problem.pred_probs, run.estimate)
    assert run.annotator_stats is not None
    assert run.annotator_stats.index.tolist() == expected.index.tolist()
    found = read_contents(run.path, run.root).annotators
    assert found is not None
    assert sorted(map(repr, found["annotator"])) == sorted(map(repr, names))
    assert "annotator_kind" not in found
    mixed = {type(name) for name in names} == {int, str}
    assert ("annotator_kind" in run.root["annotators"]) == (mixed or names[0] == -1)
    saved = run.report(tmp_path / "r.html")
    assert "whole numbers" not in saved.html
