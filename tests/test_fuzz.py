"""Either the oracle's numbers or an error of the documented kind: never another exception.

Each property is a bounded test of the normal run, and takes many thousands of problems in the slow
one.
"""

from __future__ import annotations

import warnings
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import DaskalError, DataWarning, InvalidDataError
from tests import oracle
from tests.fuzzing import MANY, Case, bad_cases, good_cases, wild_arrays

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
bounded = settings(max_examples=60, suppress_health_check=CHECKS)
exhaustive = settings(max_examples=MANY, suppress_health_check=CHECKS, database=None)


def scores_of(labels: Any, probs: Any, pool: Any, **options: Any) -> tuple[Any, ...]:
    with dask.config.set(scheduler="sync"):
        estimate = daskal.estimate(labels, probs, **options)
        return (
            estimate,
            daskal.score_labeled(labels, probs, estimate, **options).compute(),
            daskal.score_unlabeled(pool, estimate, **options).compute(),
        )


def oracle_scores(labels: np.ndarray, probs: np.ndarray, pool: np.ndarray) -> Any:
    theirs = oracle.cleanlab_scores_ensemble if probs.ndim == 3 else oracle.cleanlab_scores
    with oracle.corrected():
        return theirs(labels, probs, pool)


def check_scores(scores: np.ndarray, size: int) -> None:
    assert scores.shape == (size,)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1 + 2e-3)).all()


# --- good input -------------------------------------------------------------------------------


def check_good(case: Case) -> None:
    """Check that any form gives the plain form's bits, and these the oracle's numbers."""
    problem = case.problem
    plain = scores_of(problem.labels, problem.pred_probs, problem.pool)
    given = scores_of(case.labels, case.pred_probs, case.pool)
    assert given[0] == plain[0]
    for ours, same in zip(given[1:], plain[1:], strict=True):
        check_scores(ours, len(same))
        assert ours.tobytes() == same.tobytes()
    if case.is_extreme or any("no influence" in flag for flag in plain[0].flags):
        # Probabilities of exactly 0 and 1 tie posteriors, which the oracle breaks by a last bit.
        return
    expected = oracle_scores(problem.labels, problem.pred_probs, problem.pool)
    for ours, theirs in zip(plain[1:], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@bounded
@given(good_cases())
def test_good_input_in_any_form(case: Case) -> None:
    check_good(case)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(good_cases())
def test_good_input_in_any_form_many_times(case: Case) -> None:
    check_good(case)


# --- rows at fault ----------------------------------------------------------------------------


def check_bad(case: Case) -> None:
    """Check that all rows at fault are named, and that the others score as if alone."""
    problem = case.problem
    bad = list(case.bad_labeled)
    if bad:
        with pytest.raises(InvalidDataError) as caught, dask.config.set(scheduler="sync"):
            daskal.estimate(case.labels, case.pred_probs)
        assert named_rows(str(caught.value)) == set(bad)
    if case.bad_pool:
        scores = daskal.score_unlabeled(case.pool)
        with pytest.raises(InvalidDataError, match="pred_probs_unlabeled"):
            scores.compute(scheduler="sync")
    kept = np.setdiff1d(np.arange(problem.num_examples), bad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            _, labeled, pool = scores_of(case.labels, case.pred_probs, case.pool, on_invalid="nan")
        except InvalidDataError:
            assert len(kept) == 0
            return
    assert np.flatnonzero(np.isnan(labeled)).tolist() == bad
    assert np.flatnonzero(np.isnan(pool)).tolist() == list(case.bad_pool)
    check_scores(labeled[kept], len(kept))
    plain = scores_of(problem.labels[kept], problem.pred_probs[..., kept, :], problem.pool)
    np.testing.assert_allclose(labeled[kept], plain[1], rtol=1e-12)
    good = np.setdiff1d(np.arange(len(pool)), case.bad_pool)
    np.testing.assert_allclose(pool[good], plain[2][good], rtol=1e-12)


def named_rows(text: str) -> set[int]:
    """Return the rows that an error names."""
    found = set()
    for line in text.splitlines():
        if ": " in line and " where the row " in line:
            listed = line.rsplit(": ", 1)[1].rstrip(".")
            found.update(int(part.split(" ")[0]) for part in listed.split(", "))
    return found


@bounded
@given(bad_cases())
def test_rows_at_fault_in_any_form(case: Case) -> None:
    check_bad(case)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(bad_cases())
def test_rows_at_fault_in_any_form_many_times(case: Case) -> None:
    check_bad(case)


# --- anything ---------------------------------------------------------------------------------


def check_wild(labels: Any, probs: Any, pool: Any) -> None:
    """Check that any input gives finite scores, or an error of daskal's."""
    known = daskal.estimate(np.array([[0, 1], [1, 1]]), np.array([[0.7, 0.3], [0.4, 0.6]]))
    calls = [
        lambda: daskal.score_unlabeled(pool).compute(),
        lambda: daskal.score_unlabeled(pool, known).compute(),
        lambda: daskal.score_labeled(labels, probs, known).compute(),
        lambda: daskal.score_labeled(labels, probs, daskal.estimate(labels, probs)).compute(),
        lambda: daskal.next_batch(pool, size=2)["score"].to_numpy(),
        lambda: daskal.next_batch(labels, probs, size=2)["score"].to_numpy(),
    ]
    for call in calls:
        with warnings.catch_warnings(), dask.config.set(scheduler="sync"):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DataWarning)
            try:
                scores = call()
            except DaskalError:
                continue
        assert not np.isnan(scores).any()


@bounded
@given(wild_arrays(), wild_arrays(), wild_arrays())
def test_anything_at_all(labels: Any, probs: Any, pool: Any) -> None:
    check_wild(labels, probs, pool)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(wild_arrays(), wild_arrays(), wild_arrays())
def test_anything_at_all_many_times(labels: Any, probs: Any, pool: Any) -> None:
    check_wild(labels, probs, pool)


# --- estimates --------------------------------------------------------------------------------

TEXT = daskal.estimate(
    np.array([[0, 1, -1], [1, 1, 0], [2, -1, 2]]),
    np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]),
).to_json()


@bounded
@given(st.data())
def test_an_estimate_with_any_character_changed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT) - 1))
    piece = data.draw(st.text(max_size=3))
    cut = data.draw(st.integers(0, 3))
    text = TEXT[:at] + piece + TEXT[at + cut :]
    try:
        found = daskal.Estimate.from_json(text)
    except DaskalError:
        return
    assert found.to_json() == TEXT
