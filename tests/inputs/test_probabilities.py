"""Probabilities of one or several models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskal
from daskal.errors import EstimateError, InputError
from tests.inputs.densekit import results, stored
from tests.inputs.sparsekit import LABELS, as_csr, lazy, write_group
from tests.problems import make_problem


def test_models_in_arrays_of_their_own(tmp_path: Path) -> None:
    problem = make_problem(2, num_models=2)
    expected = results(problem.labels, problem.pred_probs, problem.pool)
    paths = []
    for model in range(2):
        paths.append(tmp_path / f"{model}.zarr")
        stored(paths[-1], problem.pred_probs[model], chunks=(6, 4))
    assert results(problem.labels, paths, list(problem.pool)) == expected
    mixed = [str(paths[0]), pd.DataFrame(problem.pred_probs[1])]
    assert results(problem.labels, mixed, tuple(problem.pool)) == expected
    together = xr.DataArray(problem.pred_probs, dims=("model", "example", "class"))
    scores = daskal.score_unlabeled(together, None)
    assert scores.dims == ("example",)


def test_probabilities_are_never_sparse(tmp_path: Path) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS))
    for given_probs in (as_csr(LABELS), group, lazy(as_csr(LABELS), (4,), (3,))):
        with pytest.raises(InputError, match="pred_probs: expected a dense array"):
            daskal.estimate(LABELS, given_probs)


BATCHES = r"Batches of rows become one array with numpy\.concatenate\(batches\)\.$"


def test_lists_of_batches_get_advice_that_fits() -> None:
    problem = make_problem(2, num_examples=30)
    labels, probs = problem.labels, problem.pred_probs
    with pytest.raises(InputError, match=f"got 30 and 10.*{BATCHES}"):
        daskal.estimate(labels, [probs[:10], probs[10:20], probs[20:]])
    with pytest.raises(InputError, match=rf"got \[\(10, .*\(20, .*{BATCHES}"):
        daskal.estimate(labels, [probs[:10], probs[10:]])
    with pytest.raises(EstimateError, match=f"got an ensemble's.*{BATCHES}"):
        daskal.score_unlabeled([probs[:15], probs[15:]], daskal.estimate(labels, probs))


def test_rows_in_one_axis_get_advice_that_fits() -> None:
    problem = make_problem(2, num_examples=30)
    rows = np.empty(30, dtype=object)
    rows[:] = list(problem.pred_probs)
    records = np.array([(0.5, 0.5)] * 30, dtype=[("a", float), ("b", float)])
    for given, advice in (
        (rows, r"numpy\.stack"),
        (pd.Series(rows), r"numpy\.stack"),
        (records, "structured_to_unstructured"),
        (np.full(30, 0.5), r"np\.column_stack\(\[1 - p, p\]\)"),
    ):
        with pytest.raises(InputError, match=advice):
            daskal.estimate(problem.labels, given)
