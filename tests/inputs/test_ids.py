"""Ids of rows."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
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
    assert list(ids[:]) == TASKS


def test_rows_that_are_other_examples_are_refused() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS[:48] + TASKS[:47:-1])
    # In memory they are put in order; what is read by blocks has to be in order.
    assert daskal.estimate(labels, probs) == daskal.estimate(labels, probs.loc[TASKS])
    lazy = xr.DataArray(
        da.from_array(probs.to_numpy()), dims=("task", "class"), coords={"task": probs.index}
    )
    stored = xr.DataArray(
        da.from_array(labels.to_numpy()), dims=("task", "annotator"), coords={"task": TASKS}
    )
    with pytest.raises(InputError, match=r"row 48 is 't48' and 't49'.* Put both"):
        daskal.estimate(stored, lazy)
    with pytest.raises(InputError, match="alone has 'other'"):
        daskal.estimate(labels, probs.rename(index={"t03": "other"}))
