"""Scores of labels by class probabilities, on literal tiles and against the package."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.kernels import quality
from daskal.kernels.quality import score_consensus, score_votes
from daskal.method.values import Scorer
from daskal.method.weights import class_thresholds
from daskal.options import SCORE_METHODS
from tests.kernels.reference import make_votes

# 3 classes, 4 labels: one row a label.
PROBS = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]])
LABELS = np.array([0, 2, 2, 1])


def score_labels(probs: np.ndarray, labels: np.ndarray, method: str) -> np.ndarray:
    return score_consensus(Scorer(method), probs, labels)


def test_confidence_is_the_labels_probability() -> None:
    assert score_labels(PROBS, LABELS, "self_confidence").tolist() == [0.7, 0.3, 1.0, 1 / 3]


def test_margin_is_the_lead_over_the_best_other_class() -> None:
    np.testing.assert_allclose(
        score_labels(PROBS, LABELS, "normalized_margin"), [0.75, 0.4, 1.0, 0.5]
    )


def test_entropy_against_confidence() -> None:
    scores = score_labels(PROBS, LABELS, "confidence_weighted_entropy")
    # Entropy 1 in units of log 3, over a confidence of a third: log(1 + 3) / 3.
    np.testing.assert_allclose(scores[3], np.log(4) / 3)
    assert scores[2] == 0
    assert 0 < scores[1] < scores[0] < 1


def test_thresholds_are_means_with_bounds() -> None:
    sums, num = np.array([1.2, 0.0, 0.0]), np.array([2, 4, 0])
    assert class_thresholds(sums, num).tolist() == [0.6, 2e-6, 2.0]


def test_adjusted_probabilities_sum_to_one() -> None:
    row = np.array([0.7, 0.2, 0.1])
    quality.adjust(row, np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(row, np.array([0.7, 0.45, 0.35]) / 1.5)


def test_votes_take_the_thresholds_of_their_annotator() -> None:
    table = np.array([[0.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    scorer = Scorer("self_confidence", None, table)
    assert not scorer.plain
    votes = make_votes([(0, 0, 0), (0, 1, 0), (1, 1, 2)], 2)
    found = score_votes(scorer, PROBS[:2], votes)
    np.testing.assert_allclose(found, [0.7, 0.7 / 1.5, 0.55 / 1.5])


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_a_label_of_no_confidence_at_all_has_no_score(method: str) -> None:
    assert np.isnan(score_labels(np.full((1, 3), np.nan), np.array([1]), method)).all()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 12),
    method=st.sampled_from(SCORE_METHODS),
    adjusted=st.booleans(),
)
def test_same_as_the_package(seed: int, classes: int, method: str, adjusted: bool) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.5), size=30)
    labels = rng.integers(classes, size=30)
    if method == "confidence_weighted_entropy":
        adjusted = False
        # The package takes no probability above 1, not even by a last bit.
        probs = np.minimum(probs, 1)
    scorer = Scorer(method)
    if adjusted:
        given_probs = probs[np.arange(30), labels]
        sums = np.bincount(labels, given_probs, minlength=classes)
        thresholds = class_thresholds(sums, np.bincount(labels, minlength=classes))
        scorer = Scorer(method, thresholds, thresholds[np.newaxis])
    expected = get_label_quality_scores(labels, probs, method=method, adjust_pred_probs=adjusted)
    np.testing.assert_allclose(score_consensus(scorer, probs, labels), expected, atol=1e-9)
    votes = make_votes([(i, 0, int(label)) for i, label in enumerate(labels)], 30)
    np.testing.assert_allclose(score_votes(scorer, probs, votes), expected, atol=1e-9)
