"""Stores of the version before this one: finished ones are read, unfinished ones refused.

``data/stores-0.1.0.zip`` holds one of each, made by daskal 0.1.0: 60 labeled examples of five
named annotators and a pool of 90.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import daskal
from daskal.errors import ResumeError, UnfinishedStoreError
from tests.problems import make_problem

STORES = Path(__file__).resolve().parent / "data" / "stores-0.1.0.zip"


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    with zipfile.ZipFile(STORES) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_finished_run_is_read_reported_on_and_ranked(stores: Path) -> None:
    run = daskal.Run.open(stores / "finished.zarr")
    assert run.attrs["version"] == "0.1.0"
    assert run.batch["id"].tolist()[:3] == ["u2", "u74", "u0"]
    scores = run.pool.compute()
    assert np.argsort(scores, kind="stable")[:3].tolist() == [2, 74, 0]
    again = run.next_batch(size=20)
    assert again["id"].tolist() == run.batch["id"].tolist()
    assert run.annotator_stats.index.tolist() == [f"annotator {name}" for name in "dcbea"]
    page = run.report(stores / "report.html")
    assert "annotator d" in page.html
    assert "u74" in page.html


def test_its_estimate_scores_a_new_pool(stores: Path) -> None:
    run = daskal.Run.open(stores / "finished.zarr")
    probs = np.array([[0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])
    scores = daskal.score_unlabeled(probs, run.estimate).compute()
    assert scores[0] < scores[1]
    assert daskal.Estimate.from_json(run.estimate.to_json()) == run.estimate


def test_an_unfinished_run_is_not_resumed(stores: Path) -> None:
    problem = make_problem(1)
    before = sorted(path.name for path in (stores / "unfinished.zarr").rglob("*"))
    with pytest.raises(ResumeError, match=r"begun by daskal 0\.1\.0 .* overwrite=True"):
        daskal.run(
            labels=problem.labels,
            pred_probs=problem.pred_probs,
            out=stores / "unfinished.zarr",
            resume=True,
        )
    assert sorted(path.name for path in (stores / "unfinished.zarr").rglob("*")) == before


def test_an_unfinished_run_is_not_read_in_part(stores: Path) -> None:
    with pytest.raises(UnfinishedStoreError, match=r"begun by daskal 0\.1\.0"):
        daskal.Run.open(stores / "unfinished.zarr", partial=True)
