from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.method.expectation import (
    FLOOR,
    Parameters,
    Units,
    VoteCounts,
    confusion_of,
    in_nats,
    is_converged,
)
from daskal.method.findings import Findings
from daskal.method.panels import alpha, spam_scores


def counts_of(num_labeled: int, votes: list[int]) -> VoteCounts:
    none = np.zeros(0, dtype=np.int64)
    return VoteCounts(num_labeled, num_labeled, 0, 0, np.array(votes), none, none, Findings())


@given(st.integers(1, 2**32), st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_no_sum_can_overflow(num_labeled, votes):
    units = Units.from_counts(counts_of(num_labeled, votes))
    # Each term is 1, or a logarithm of at least -64 for each vote and class, and half a unit more.
    for bits, most in (
        (units.prior, num_labeled),
        (units.cells, max(votes)),
        (units.likelihood, 64 * (num_labeled + sum(votes))),
    ):
        assert most * (2**bits + 1) < 2**63
        assert 20 <= bits <= 52


def test_confusion_by_hand():
    # One annotator, (class given, true class): never gave class 2, never met an example of it.
    masses = np.array([[[3.0, 1, 0], [1, 0, 0], [0, 0, 0]]])
    (found,) = confusion_of(masses)
    np.testing.assert_allclose(found[0], [0.75, 0.25, 0])
    np.testing.assert_allclose(found[1], [1, FLOOR, 0], atol=1e-12)
    np.testing.assert_allclose(found[2], [0.5, 0.5, 0])


def test_unknown_annotators_get_the_mean():
    confusion = np.array([[[1.0, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]], [[0, 0], [0, 0]]])
    parameters = Parameters(np.array([0.5, 0.5]), confusion, np.array([1, 0.5, np.nan]))
    found = parameters.of_annotators(np.array([1, -1]))
    assert found.confusion.tolist() == [[[0.5, 0.5], [0.5, 0.5]], [[0.75, 0.25], [0.25, 0.75]]]


def test_the_rule_to_stop():
    bit = 2**10  # in units of 2**-10
    assert in_nats(bit, 10) == pytest.approx(np.log(2))
    assert not is_converged(None, -5 * bit, 1, 1.0, 10)
    assert not is_converged(-5 * bit, -3 * bit, 1, 1.0, 10)
    assert is_converged(-5 * bit, -4 * bit, 1, 1.0, 10)
    assert is_converged(-5 * bit, -3 * bit, 2, 1.0, 10)


def test_alpha_by_hand():
    """Krippendorff's own example of two observers: 9 of 10 pairs of 0 and 1 agree but for one."""
    shares = np.array([[10.0, 1], [1, 8]])
    disagreement, expected = 2 / 20, 2 * 11 * 9 / (20 * 19)
    assert alpha(shares, "nominal") == pytest.approx(1 - disagreement / expected)
    assert np.isnan(alpha(np.array([[4.0, 0], [0, 0]]), "nominal"))


def test_spam_scores_between_habit_and_skill():
    perfect, habit, once = np.eye(3) * 5, np.array([[0, 4, 0], [0, 2, 0], [0, 9, 0]]), np.eye(1, 3)
    confusion = np.stack([perfect, habit, np.vstack([once, np.zeros((2, 3))])]).astype(np.int64)
    assert spam_scores(confusion)[:2].tolist() == [0, 1]
    assert np.isnan(spam_scores(confusion)[2])
