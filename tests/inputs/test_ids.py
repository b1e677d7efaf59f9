"""Ids of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from daskal.errors import InputError
from daskal.inputs.ids import StoredIds
from tests.inputs.densekit import INTEGERS, PROBLEM, TASKS


def test_stored_ids_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "ids", shape=(50,), chunks=(7,), dtype=str)
    array[:] = np.array(TASKS, dtype=object)
    ids = StoredIds(array)
    assert len(ids) == 50
    assert list(ids[3:5]) == TASKS[3:5]
    assert list(ids[np.array([1, 40])]) == [TASKS[1], TASKS[40]]
    assert list(ids.to_numpy()) == TASKS


def test_rows_that_are_other_examples_are_refused() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS[:48] + TASKS[:47:-1])
    with pytest.raises(InputError, match=r"got 't48' and 't49' in row 48\. Put both"):
        daskal.estimate(labels, probs)
    daskal.estimate(labels, probs.loc[TASKS])
