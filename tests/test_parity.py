"""The same numbers as cleanlab: pass 1 and pass 2 against the oracle, in both conventions."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from tests import oracle, realdata
from tests.problems import (
    VARIANTS,
    Problem,
    cast_labels,
    is_vote,
    make_problem,
    problems,
    with_gaps,
)

CONVENTIONS = ("paper", "cleanlab")
EXACT = {"rtol": 1e-9, "atol": 1e-9}
# cleanlab rounds float32 probabilities in places.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}


class Scored(NamedTuple):
    estimate: daskal.Estimate
    labeled: np.ndarray
    pool: np.ndarray


def score(problem: Problem, convention: str) -> Scored:
    estimate = daskal.estimate(problem.labels, problem.pred_probs, convention=convention)
    labeled = daskal.score_labeled(problem.labels, problem.pred_probs, estimate).compute()
    pool = np.empty(0)
    if problem.pool is not None:
        pool = daskal.score_unlabeled(problem.pool, estimate).compute()
    return Scored(estimate, labeled, pool)


def assert_same_as_oracle(problem: Problem, convention: str, **tolerance: float) -> None:
    ours = score(problem, convention)
    ensemble = problem.pred_probs.ndim == 3
    theirs = oracle.cleanlab_scores_ensemble if ensemble else oracle.cleanlab_scores
    with oracle.convention(convention):
        labeled, pool = theirs(problem.labels, problem.pred_probs, problem.pool)
        if (is_vote(problem.labels).sum(axis=1) > 1).any():
            weights = oracle.cleanlab_weights(problem.labels, problem.pred_probs)
            np.testing.assert_allclose(ours.estimate.temperature, weights.temperature, rtol=1e-12)
            np.testing.assert_allclose(
                ours.estimate.model_weight, weights.model_weight, **tolerance
            )
            np.testing.assert_allclose(
                ours.estimate.annotator_weight, weights.annotator_weight, **tolerance
            )
    np.testing.assert_allclose(ours.labeled, labeled, **tolerance)
    np.testing.assert_allclose(ours.pool, pool, **tolerance)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
def test_variants(make, seed: int, convention: str) -> None:
    assert_same_as_oracle(make(seed), convention, **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
def test_variants_of_ensembles(make, seed: int, convention: str) -> None:
    assert_same_as_oracle(make(seed, num_models=3), convention, **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
@given(problem=problems())
def test_any_problem(problem: Problem, convention: str) -> None:
    assert_same_as_oracle(problem, convention, **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), models=st.integers(2, 4), classes=st.integers(2, 12))
def test_any_ensemble(seed: int, models: int, classes: int, convention: str) -> None:
    problem = make_problem(seed, num_examples=40, num_models=models, num_classes=classes, pool=30)
    assert_same_as_oracle(problem, convention, **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_sets(name: str, convention: str) -> None:
    data = realdata.load(name)
    problem = Problem(data.labels, data.pred_probs, data.pred_probs[::-1])
    assert_same_as_oracle(problem, convention, **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_single_precision(convention: str) -> None:
    problem = make_problem(4, num_examples=300, probs_dtype=np.float32)
    assert_same_as_oracle(problem, convention, **SINGLE)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_dtype_of_labels_changes_nothing(dtype, convention: str) -> None:
    problem = make_problem(6)
    expected = score(problem, convention)
    found = score(replace(problem, labels=cast_labels(problem.labels, dtype)), convention)
    assert found.estimate.to_json() == expected.estimate.to_json()
    np.testing.assert_array_equal(found.labeled, expected.labeled)
    np.testing.assert_array_equal(found.pool, expected.pool)


@pytest.mark.parametrize("convention", CONVENTIONS)
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_and_annotators_without_labels_take_no_part(seed: int, convention: str) -> None:
    gapped = with_gaps(make_problem(seed), seed)
    expected = score(gapped.kept, convention)
    found = score(gapped.problem, convention)
    np.testing.assert_array_equal(found.labeled[gapped.rows], expected.labeled)
    np.testing.assert_array_equal(found.pool, expected.pool)
    # A row without votes is scored as one of the pool.
    others = np.delete(np.arange(gapped.problem.num_examples), gapped.rows)
    as_pool = daskal.score_unlabeled(gapped.problem.pred_probs[others], found.estimate)
    np.testing.assert_allclose(found.labeled[others], as_pool.compute(), rtol=1e-14)


def test_pool_alone() -> None:
    pool = make_problem(8).pool
    expected = oracle.cleanlab_scores(None, None, pool)[1]
    np.testing.assert_allclose(daskal.score_unlabeled(pool).compute(), expected, **EXACT)
