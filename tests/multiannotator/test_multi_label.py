"""cleanlab's names for several classes an example."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from daskal.errors import InputError, InvalidDataError
from daskal.multiannotator import get_active_learning_scores, get_active_learning_scores_ensemble
from tests.tagkit import make_tags
from tests.tagoracle import oracle_scores

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("num_models", [1, 2])
@pytest.mark.parametrize(("dtype", "convention"), [(float, "cleanlab"), (np.int64, "paper")])
def test_the_mean_of_cleanlabs_scores(dtype, convention, num_models):
    problem = make_tags(30, dtype=dtype, num_models=num_models)
    score = get_active_learning_scores if num_models == 1 else get_active_learning_scores_ensemble
    labeled, pool = oracle_scores(problem, convention)
    found = score(problem.labels, problem.pred_probs, problem.pool, multi_label=True)
    assert all(isinstance(scores, np.ndarray) for scores in found)
    np.testing.assert_allclose(found[0], labeled.mean(axis=1), **EXACT)
    np.testing.assert_allclose(found[1], pool.mean(axis=1), **EXACT)


def test_lists_and_lazy_arrays():
    problem = make_tags(31)
    expected, _ = oracle_scores(problem, "cleanlab")
    found, none = get_active_learning_scores(problem.lists(), problem.pred_probs, multi_label=True)
    np.testing.assert_allclose(found, expected.mean(axis=1), **EXACT)
    assert none.shape == (0,)
    lazy, _ = get_active_learning_scores(
        da.from_array(problem.labels), problem.pred_probs, multi_label=True
    )
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), found)
    alone = get_active_learning_scores(pred_probs_unlabeled=problem.pool, multi_label=True)[1]
    assert alone.shape == (30,)


def test_what_is_refused():
    problem = make_tags(32)
    with pytest.raises(InputError, match="expected pred_probs, pred_probs_unlabeled or both"):
        get_active_learning_scores(multi_label=True)
    with pytest.raises(InputError, match="got None"):
        get_active_learning_scores(None, problem.pred_probs, multi_label=True)
    with pytest.raises(InputError, match="multi_label: expected True or False, got 1"):
        get_active_learning_scores(problem.labels, problem.pred_probs, multi_label=1)
    with pytest.raises(InvalidDataError, match="has a probability above 1"):
        get_active_learning_scores(problem.labels, problem.pred_probs + 1, multi_label=True)
    with pytest.raises(InputError, match="whose name ends in _ensemble"):
        get_active_learning_scores(problem.labels, problem.pred_probs[np.newaxis], multi_label=True)
