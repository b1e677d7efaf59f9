"""Real crowd labels, read where they are present: never a part of this project.

They are looked for in ``DASKAL_TEST_DATA``, else in ``../shared/data`` beside the project.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DASKAL_TEST_DATA", PROJECT.parent / "shared" / "data"))

PROBS_OF = {
    "weather_sentiment": ("logreg_cv5", "histgb_cv5"),
    "web_search": ("simulated_acc75",),
    "rte": ("simulated_acc80",),
    "bluebird": ("simulated_acc80",),
    "music_genre": ("simulated_acc75",),
}


@dataclass(frozen=True)
class RealSet:
    """One set: ``labels`` (N, M) float with NaN, rows in the order of ``task_ids``.

    ``pred_probs`` are the stored float32 values as float64, ``pred_probs_f32`` those values
    themselves, ``votes`` the same labels in long format (task, annotator, label).
    """

    name: str
    labels: np.ndarray
    pred_probs: np.ndarray
    pred_probs_f32: np.ndarray
    annotator_ids: np.ndarray
    task_ids: np.ndarray
    votes: pd.DataFrame


@cache
def load(name: str, probs: str | None = None) -> RealSet:
    """Load a set, with its first model's probabilities where ``probs`` names none."""
    folder = DATA / name
    votes = pd.read_parquet(folder / "labels.parquet")
    task_ids = pd.read_parquet(folder / "tasks.parquet")["task"].to_numpy()
    wide = votes.pivot(index="task", columns="annotator", values="label").reindex(task_ids)
    stored = np.load(folder / f"pred_probs_{probs or PROBS_OF[name][0]}.npy")
    labels = wide.to_numpy(dtype=np.float64)
    probs_f64 = stored.astype(np.float64)
    for shared in (labels, stored, probs_f64):
        # Every test gets the same arrays, so that none may change them.
        shared.flags.writeable = False
    return RealSet(name, labels, probs_f64, stored, wide.columns.to_numpy(), task_ids, votes)


def _parameter(name: str) -> object:
    absent = not (DATA / name / "labels.parquet").exists()
    reason = f"no real data under DASKAL_TEST_DATA or ../shared/data: {name}"
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=reason))


#: ``@pytest.mark.parametrize("name", realdata.NAMES)``: skipped, with its reason, where absent.
NAMES = [_parameter(name) for name in PROBS_OF]
