"""Calls from inside a Dask task, and under an asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster, worker_client

import daskal
from daskal.errors import ClusterError
from tests.problems import make_problem

PROBLEM = make_problem(1, num_examples=60)
SECONDS = 60


def everything(folder: str) -> dict[str, Any]:
    """Use each function that computes, and return what it says."""
    labels, probs, pool = PROBLEM.labels, PROBLEM.pred_probs, PROBLEM.pool
    estimate = daskal.estimate(labels, probs)
    votes = pd.DataFrame({"task": ["a", "b"], "annotator": ["x", "x"], "label": [0, 1]})
    run = daskal.run(
        labels=labels, pred_probs=probs, pred_probs_unlabeled=pool, out=f"{folder}/out.zarr"
    )
    scores = daskal.score_labeled(labels, probs, estimate)
    return {
        "estimate": estimate.to_json(),
        "stats": daskal.annotator_stats(labels, probs, estimate)["annotator_quality"].tolist(),
        "scores": np.asarray(scores).tolist(),
        "batch": daskal.next_batch(scores, size=3)["row"].tolist(),
        "run": run.next_batch(size=3)["row"].tolist(),
        "imported": daskal.import_votes(votes, f"{folder}/votes.zarr").num_votes,
    }


def estimate_with_worker_client() -> str:
    """Estimate where the task has already made room for others, and once more where it has not."""
    with worker_client():
        inside = daskal.estimate(PROBLEM.labels, PROBLEM.pred_probs).to_json()
    assert daskal.estimate(PROBLEM.labels, PROBLEM.pred_probs).to_json() == inside
    return inside


def test_all_works_inside_a_task(tmp_path: Path) -> None:
    """On one worker of one thread, where waiting for other tasks would be for ever."""
    expected = everything(str(tmp_path / "here"))
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        future = client.submit(everything, str(tmp_path / "there"), pure=False)
        assert future.result(timeout=SECONDS) == expected
        future = client.submit(estimate_with_worker_client, pure=False)
        assert future.result(timeout=SECONDS) == expected["estimate"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: daskal.estimate(PROBLEM.labels, PROBLEM.pred_probs),
        lambda: daskal.next_batch(np.arange(5.0), size=2),
        lambda: daskal.plan(pred_probs_unlabeled=PROBLEM.pool),
    ],
)
def test_an_asynchronous_client_is_refused(cluster: Client, call: Callable[[], Any]) -> None:
    async def main() -> None:
        async with Client(
            cluster.scheduler_info()["address"], asynchronous=True, set_as_default=True
        ):
            with pytest.raises(ClusterError, match="got an asynchronous one"):
                call()

    asyncio.run(main())
