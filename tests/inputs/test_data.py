"""Labels and probabilities together: names and coords go with them, and must agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskal
from daskal.errors import InputError
from tests.inputs.densekit import EXPECTED, INTEGERS, PEOPLE, PROBLEM, TASKS
from tests.problems import forbid_compute


def test_coords_travel() -> None:
    labels = xr.DataArray(
        INTEGERS,
        dims=("task", "annotator"),
        coords={
            "task": TASKS,
            "annotator": PEOPLE,
            "length": ("task", np.arange(50)),
            "cell": (("task", "annotator"), np.zeros((50, 6))),
            "batch": 3,
        },
    )
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("row", "class"))
    estimate = daskal.estimate(labels, probs)
    assert list(estimate.annotator_weight.index) == PEOPLE
    for given in (labels, labels.chunk({"task": 11})):
        with forbid_compute():
            scores = daskal.score_labeled(given, probs, estimate)
        assert scores.dims == ("task",)
        assert set(scores.coords) == {"task", "length", "batch"}
        assert list(scores.indexes["task"]) == TASKS
        assert scores.name == "score"
        assert scores.chunks is not None
        np.testing.assert_array_equal(scores.compute().values, np.frombuffer(EXPECTED[1]))
        assert float(scores.sel(task="t07")) == np.frombuffer(EXPECTED[1])[7]


def test_coords_of_several_levels_travel() -> None:
    index = pd.MultiIndex.from_product([list("ab"), range(25)], names=["part", "number"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "task")
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("task", "class"), coords=coords)
    estimate = daskal.estimate(PROBLEM.labels, probs)
    scores = daskal.score_labeled(PROBLEM.labels, probs, estimate)
    assert scores.indexes["task"].equals(index)
    assert float(scores.sel(part="b", number=3)) == np.frombuffer(EXPECTED[1])[28]


def test_ids_of_a_frame_travel() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS, columns=PEOPLE)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS, columns=["cat", "dog", "eel"])
    estimate = daskal.estimate(labels, probs)
    assert estimate.annotator_ids == tuple(PEOPLE)
    assert estimate.class_names == ("cat", "dog", "eel")
    turned = daskal.score_labeled(labels[PEOPLE[::-1]], probs, estimate)
    np.testing.assert_allclose(turned.compute(), np.frombuffer(EXPECTED[1]), rtol=0, atol=1e-15)


def test_dimensions_that_are_turned_round_are_refused() -> None:
    labels = xr.DataArray(INTEGERS[:6], dims=("task", "annotator"))
    probs = xr.DataArray(PROBLEM.pred_probs[:6, :2], dims=("class", "task"))
    with pytest.raises(InputError, match="transpose"):
        daskal.estimate(labels, probs)
